/** Signing in to the status page, and out of it. Plain forms; the token is in the body and never in a URL. */
import { z } from 'zod';
import { foreignForm } from '../form.ts';
import { html, page } from '../html.ts';
import { type Route, rawResponse, route } from '../route.ts';
import type { Services } from './services.ts';

const HTML = 'text/html; charset=utf-8';
const TOKEN_LENGTH_MAX = 6_000;

export const signInRoutes = ({ page: access }: Services): Route[] => [
  route({
    method: 'GET',
    path: '/sign-in',
    summary: 'Form to sign in to the status page',
    tags: ['probes'],
    open: true,
    responses: { 200: rawResponse(HTML, 'The form') },
    handler: async () => ({ status: 200, ...form(false) }),
  }),
  route({
    method: 'POST',
    path: '/sign-in',
    summary: 'Sign in to the status page with a token',
    description: 'Sets a cookie that is good for the status page alone; the API does not take it.',
    tags: ['probes'],
    open: true,
    form: true,
    body: z.strictObject({ token: z.string().min(1).max(TOKEN_LENGTH_MAX) }),
    responses: {
      303: rawResponse('text/plain', 'Signed in; to the page'),
      401: rawResponse(HTML, 'The form again'),
    },
    handler: async ({ headers, body }) => {
      const foreign = foreignForm(headers, access.publicUrl);
      if (foreign !== null) return foreign;
      const authenticated = await access.signIn(body.token.trim());
      if (authenticated === null) return { status: 401, ...form(true) };
      // A session that was there before is not taken over.
      access.sessions.close(cookiesOf(headers));
      return {
        status: 303,
        body: '',
        headers: { location: '/', 'set-cookie': access.sessions.open(authenticated) },
      };
    },
  }),
  route({
    method: 'POST',
    path: '/sign-out',
    summary: 'Sign out of the status page',
    tags: ['probes'],
    open: true,
    form: true,
    body: z.strictObject({}),
    responses: { 303: rawResponse('text/plain', 'Signed out; to the form') },
    handler: async ({ headers }) => {
      const foreign = foreignForm(headers, access.publicUrl);
      if (foreign !== null) return foreign;
      return {
        status: 303,
        body: '',
        headers: {
          location: '/sign-in',
          'set-cookie': access.sessions.close(cookiesOf(headers)),
          'clear-site-data': '"cache"',
        },
      };
    },
  }),
];

export const cookiesOf = ({
  cookie,
}: {
  readonly cookie?: string | string[] | undefined;
}): string | undefined => (typeof cookie === 'string' ? cookie : undefined);

function form(isRefused: boolean): { body: string; headers: Record<string, string> } {
  const { text, headers } = page({
    title: 'Interlock: sign in',
    style: STYLE,
    hasForms: true,
    body: html`<h1>Interlock</h1>
<form method="post" action="/sign-in">
${isRefused ? html`<p class="bad">That token is not known, or no longer good.</p>` : []}
<label for="token">Your token, or one of your identity provider</label>
<input id="token" name="token" type="password" autocomplete="off" required autofocus>
<button>Sign in</button>
</form>
<p>For this page only. The red button does not need it.</p>`,
  });
  return { body: text, headers };
}

const STYLE = `
:root { color-scheme: light dark; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 10vh auto 0; max-width: 24rem; padding: 1rem; }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit; margin: .3rem 0; padding: .4rem 0; }
input, button { padding: .5rem; }
.bad { color: #c62828; font-weight: 600; }
`;
