/** Makes a `switch` over a union exhaustive: a new member is a compile error where it is not handled. */
export function assertNever(value: never): never {
  throw new TypeError(`unhandled case ${JSON.stringify(value)}`);
}
