/** How interlock.yaml names the systems that targets may name, and the files that belong to them. */
import { z } from 'zod';

/** Also what a refusal lists, hence plain. */
export const SystemName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be letters, digits, ".", "_" or "-", at most 64');

export const AbsolutePath = z
  .string()
  .max(4096)
  .regex(/^\/[^\0]*$/, 'must be an absolute path');
