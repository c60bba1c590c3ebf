/** Of a base from 0 on. `**` differs between engines. */
export const power = (base: number, exponent: number): number =>
  exponent === 1 ? base : base <= 0 ? 0 : Math.exp(exponent * Math.log(base));
