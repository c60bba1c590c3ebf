/** The forecast that the service makes; its name is sealed with every forecast. */
import { multiProcess } from './multi-process.ts';
import { PARAMETERS } from './parameters.ts';
import type { ForecastMethod } from './score-forecast.ts';

export const servedMethod: ForecastMethod = multiProcess('multi-process/3', PARAMETERS);
