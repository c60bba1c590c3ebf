/** Every forecasting method keeps the promises of the seam; what one is known not to keep is said here. */
import { BASELINES } from '../../../src/domain/forecast/baselines.ts';
import { servedMethod } from '../../../src/domain/forecast/served-method.ts';
import { describeForecastMethod } from './describe-forecast-method.ts';

describeForecastMethod({
  method: servedMethod,
  except: {
    'noise never narrows':
      'a larger stated error explains past jumps away, so that a restless series seems calmer',
  },
  // Leaps have less room the higher the level stands, and move the median.
  tolerance: { horizon: 0.03 },
  casesShare: 0.85,
});
for (const method of BASELINES) describeForecastMethod({ method, casesShare: 0.05 });
