/** `orchestrators.kubernetes` of interlock.yaml: the clusters that targets may name. */
import { z } from 'zod';
import { AbsolutePath, SystemName } from './system-names.ts';

const kubernetesNamespaces = z
  .array(z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be the name of a namespace'))
  .min(1)
  .optional()
  .meta({ description: 'The namespaces that targets may name; default: all' });

export const KubernetesClusterSchema = z.union(
  [
    z.strictObject({
      /** Read again at every use, with whatever it points at, so that a rotated credential counts at once. */
      kubeconfig: AbsolutePath,
      context: z.string().min(1).max(253).optional(),
      namespaces: kubernetesNamespaces,
    }),
    /** The service account of the pod that Interlock runs in. */
    z.strictObject({ inCluster: z.literal(true), namespaces: kubernetesNamespaces }),
  ],
  { error: 'must be {kubeconfig: PATH, context?, namespaces?} or {inCluster: true, namespaces?}' },
);
export type KubernetesCluster = z.output<typeof KubernetesClusterSchema>;

export const KubernetesConfigSchema = z
  .strictObject({
    enabled: z.boolean().default(false),
    clusters: z.record(SystemName, KubernetesClusterSchema).default({}),
  })
  .refine(({ enabled, clusters }) => !enabled || Object.keys(clusters).length > 0, {
    path: ['clusters'],
    error: 'must name at least one cluster where the kind is enabled',
  })
  .prefault({});
