/**
 * Evidence in an S3-compatible bucket: signed requests (Signature Version 4) through the guarded way out.
 *
 * Small blobs go in one PUT, larger ones in parts, so that none is in memory as a whole; reading goes by ranges. The digest of
 * every body is part of what is signed, and the store refuses a body that differs. Path-style addresses, which every such
 * store knows. Retention is the bucket's own lifecycle: `expire` removes nothing.
 */

import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { AwsV4Signer } from 'aws4fetch';
import { InterlockError } from '../errors.ts';
import type { Outbound, OutboundRequest, OutboundResponse } from '../outbound/outbound.ts';
import { type BlobName, type EvidenceStore, pathOf, unavailable } from './evidence-store.ts';

export interface S3Options {
  readonly endpoint: string;
  readonly bucket: string;
  readonly region: string;
  /** Before `sha256/...`; empty or ending in a slash. */
  readonly prefix: string;
  readonly accessKey: () => string;
  readonly secretKey: () => string;
  readonly outbound: Pick<Outbound, 'request'>;
  readonly clock: () => Date;
  /** Of one part and one range; a test may lower it. */
  readonly partBytes?: number;
}

const PART_BYTES = 16 * 1024 * 1024;
const TIMEOUT_MS = 120_000;
const REPLY_BYTES = 1024 * 1024;

export function createS3Store(options: S3Options): EvidenceStore {
  const { endpoint, bucket, region, prefix, outbound, clock, partBytes = PART_BYTES } = options;

  const urlOf = (name: BlobName, query = ''): string =>
    `${withoutSlash(endpoint)}/${bucket}/${prefix}${pathOf(name)}${query}`;

  async function send(
    method: OutboundRequest['method'],
    url: string,
    {
      body,
      headers = {},
      max = REPLY_BYTES,
    }: { body?: Buffer; headers?: Record<string, string>; max?: number },
    signal: AbortSignal,
  ): Promise<OutboundResponse> {
    const signer = new AwsV4Signer({
      method,
      url,
      headers: { ...headers, 'x-amz-content-sha256': sha256(body ?? Buffer.alloc(0)) },
      accessKeyId: options.accessKey(),
      secretAccessKey: options.secretKey(),
      service: 's3',
      region,
      datetime: clock()
        .toISOString()
        .replace(/[:-]|\.\d{3}/g, ''),
    });
    const signed = await signer.sign();
    try {
      return await outbound.request(
        {
          method,
          url: signed.url.href,
          headers: Object.fromEntries(signed.headers),
          ...(body === undefined ? {} : { body }),
          timeoutMs: TIMEOUT_MS,
          maxResponseBytes: max,
        },
        signal,
      );
    } catch (error) {
      if (!(error instanceof InterlockError)) throw error;
      throw unavailable('is not reached', error);
    }
  }

  async function expect200(answer: Promise<OutboundResponse>, what: string): Promise<OutboundResponse> {
    const reply = await answer;
    if (reply.status < 200 || reply.status > 299) throw unavailable(`${what} with HTTP ${reply.status}`);
    return reply;
  }

  async function head(name: BlobName, signal: AbortSignal): Promise<number | null> {
    const { status, headers } = await send('HEAD', urlOf(name), {}, signal);
    if (status === 404) return null;
    if (status !== 200) throw unavailable(`answered HEAD with HTTP ${status}`);
    const size = Number(headers['content-length']);
    if (!Number.isSafeInteger(size) || size < 0) throw unavailable('does not say how large a blob is');
    return size;
  }

  async function inParts(
    name: BlobName,
    handle: FileHandle,
    size: number,
    signal: AbortSignal,
  ): Promise<void> {
    const begun = await expect200(send('POST', urlOf(name, '?uploads='), {}, signal), 'began no upload');
    const uploadId = /<UploadId>([^<>&]{1,1024})<\/UploadId>/.exec(begun.body.toString('utf8'))?.[1];
    if (uploadId === undefined) throw unavailable('named no upload');
    const upload = `uploadId=${encodeURIComponent(uploadId)}`;
    try {
      const tags: string[] = [];
      for (let at = 0; at < size; at += partBytes) {
        const body = await bytesAt(handle, at, Math.min(partBytes, size - at));
        const query = `?partNumber=${tags.length + 1}&${upload}`;
        const { headers } = await expect200(
          send('PUT', urlOf(name, query), { body }, signal),
          'refused a part',
        );
        tags.push(headers['etag'] ?? '');
      }
      const parts = tags.map(
        (tag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>${escaped(tag)}</ETag></Part>`,
      );
      const body = Buffer.from(`<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`);
      const done = await expect200(
        send('POST', urlOf(name, `?${upload}`), { body }, signal),
        'ended no upload',
      );
      // It may say 200 and, later in the same answer, that it failed.
      if (/<Error>/.test(done.body.toString('utf8'))) throw unavailable('ended no upload');
    } catch (error) {
      await send('DELETE', urlOf(name, `?${upload}`), {}, AbortSignal.timeout(10_000)).catch(() => undefined);
      throw error;
    }
  }

  async function* ranges(name: BlobName, size: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < size; at += partBytes) {
      const last = Math.min(at + partBytes, size) - 1;
      const headers = { range: `bytes=${at}-${last}` };
      const reply = await send('GET', urlOf(name), { headers, max: partBytes }, signal);
      const isWhole = reply.status === 200 && at === 0 && reply.body.length === size;
      if (!isWhole && (reply.status !== 206 || reply.body.length !== last - at + 1)) {
        throw unavailable(`gave no range, with HTTP ${reply.status}`);
      }
      yield reply.body;
    }
  }

  return {
    has: async (name) => (await head(name, AbortSignal.timeout(TIMEOUT_MS))) !== null,
    async write(name, file, signal) {
      if ((await head(name, signal)) !== null) return;
      const handle = await open(file, 'r');
      try {
        const { size } = await handle.stat();
        if (size > partBytes) return await inParts(name, handle, size, signal);
        const body = await bytesAt(handle, 0, size);
        await expect200(send('PUT', urlOf(name), { body }, signal), 'refused a blob');
      } finally {
        await handle.close();
      }
    },
    async read(name, signal) {
      const size = await head(name, signal);
      return size === null ? null : ranges(name, size, signal);
    },
    async remove(name, signal) {
      const { status } = await send('DELETE', urlOf(name), {}, signal);
      if (status !== 404 && (status < 200 || status > 299)) {
        throw unavailable(`removed no blob, with HTTP ${status}`);
      }
    },
    expire: () => Promise.resolve(0),
  };
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const escaped = (text: string): string =>
  text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');

async function bytesAt(handle: FileHandle, at: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, at + filled);
    if (bytesRead === 0) throw unavailable('was given a file that shrank');
    filled += bytesRead;
  }
  return buffer;
}

function withoutSlash(url: string): string {
  let end = url.length;
  while (url[end - 1] === '/') end -= 1;
  return url.slice(0, end);
}
