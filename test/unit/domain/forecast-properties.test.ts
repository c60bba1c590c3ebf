/** Every forecasting method keeps the promises of the seam; what one is known not to keep is said here. */
import { BASELINES } from '../../../src/domain/forecast/baselines.ts';
import { localLinear } from '../../../src/domain/forecast/local-linear.ts';
import { describeForecastMethod } from './describe-forecast-method.ts';

describeForecastMethod({
  method: localLinear,
  except: { 'finite for every finite input': 'its sums of squares overflow beyond 1e150' },
  // The jump allowance has less room the higher the centre, and moves the median.
  tolerance: { noise: 0.02, horizon: 0.03 },
  casesShare: 0.85,
});
for (const method of BASELINES) describeForecastMethod({ method, casesShare: 0.05 });
