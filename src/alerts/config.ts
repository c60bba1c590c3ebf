/** The pieces that the configurations of alert channels share. */
import { z } from 'zod';

export const channelName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'must be letters, digits, ".", "_" or "-", at most 128');

export const environmentReference = z
  .string()
  .regex(/^env:[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must be "env:" and the name of an environment variable');

const withoutCredentials = (text: string): boolean => {
  if (!URL.canParse(text)) return false;
  const { username, password } = new URL(text);
  return username === '' && password === '';
};

export const httpUrl = z
  .url({ protocol: /^https?$/ })
  .max(2048)
  .refine(withoutCredentials, 'must not carry credentials');

export const httpsUrl = z
  .url({ protocol: /^https$/ })
  .max(2048)
  .refine(withoutCredentials, 'must not carry credentials');
