/** Which methods a path takes, so that a wrong method is told apart (405, Allow) from a wrong path (404). */
import type { Route } from './route.ts';

export function routesByPath(routes: readonly Route[]): (url: string) => string[] {
  const patterns = routes.map((route) => ({ segments: route.path.split('/'), route }));
  return (url) => {
    const segments = (url.split(/[?#]/, 1)[0] ?? '').split('/');
    const methods = new Set<string>();
    for (const { segments: pattern, route } of patterns) {
      if (pattern.length !== segments.length) continue;
      const isMatch = pattern.every(
        (part, i) => part === segments[i] || (part.startsWith(':') && segments[i] !== ''),
      );
      if (!isMatch) continue;
      methods.add(route.method);
      if (route.method === 'GET' && !isStream(route)) methods.add('HEAD');
    }
    return [...methods].sort();
  };
}

export function isStream(route: Route): boolean {
  return Object.values(route.responses).some((spec) => 'kind' in spec && spec.kind === 'stream');
}
