/** A base address without the slashes at its end, so that a path can be put behind it. Linear in what it is given. */
export function withoutTrailingSlashes(text: string): string {
  let end = text.length;
  while (end > 0 && text[end - 1] === '/') end -= 1;
  return text.slice(0, end);
}
