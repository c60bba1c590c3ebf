/** The Ray clusters that targets may name: where their Jobs API is, and what lets Interlock in. */
import { z } from 'zod';
import { SystemName } from './system-names.ts';

/** `env:NAME`, or a file that is read again at each use, so that what rotates it need not tell anybody. */
const credential = z
  .string()
  .max(4096)
  .regex(
    /^(env:[A-Za-z_][A-Za-z0-9_]{0,127}|\/[^\0]+)$/,
    'must be "env:" and the name of an environment variable, or the absolute path of a file',
  );

const baseUrl = z
  .string()
  .max(2048)
  .refine((text) => {
    if (!URL.canParse(text)) return false;
    const { protocol, username, password, search, hash } = new URL(text);
    const isPlain = username === '' && password === '' && search === '' && hash === '';
    return isPlain && (protocol === 'https:' || protocol === 'http:');
  }, 'must be an http or https URL without credentials, query or fragment');

const headerName = z
  .string()
  .regex(
    /^(?!(?:host|connection|content-length|transfer-encoding)$)[a-z][a-z0-9-]{0,63}$/,
    'must be a header name in lower case, and none that frames the request',
  );

export const RayConfigSchema = z
  .strictObject({
    enabled: z.boolean().default(false),
    clusters: z
      .record(
        SystemName,
        z.strictObject({
          /** Of the dashboard, port 8265 unless it stands behind something. */
          url: baseUrl,
          /** Sent as `Authorization: Bearer`. */
          token: credential.optional(),
          /** What a proxy in front of it wants besides. */
          headers: z.record(headerName, credential).default({}),
        }),
      )
      .default({}),
  })
  .prefault({});
export type RayCluster = z.output<typeof RayConfigSchema>['clusters'][string];
