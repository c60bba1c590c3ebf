/**
 * A bucket of an S3-compatible store over real HTTP, as far as evidence needs one: objects, ranges, uploads in parts.
 *
 * It works out each signature by itself (Signature Version 4, header form) and refuses a request whose signature, body digest
 * or time is off; that it does so rightly is held against the vendor's published example.
 */
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import { type Listening, listening } from './listening.ts';

export interface BucketServer extends Listening {
  /** By path. */
  readonly objects: ReadonlyMap<string, Buffer>;
}

export interface Signed {
  readonly secretKey: string;
  readonly region: string;
  readonly amzDate: string;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly signed: readonly (readonly [string, string])[];
  readonly bodyHash: string;
}

const sha256 = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');
const hmac = (key: Buffer | string, text: string): Buffer => createHmac('sha256', key).update(text).digest();

export function signatureOf({
  secretKey,
  region,
  amzDate,
  method,
  path,
  query,
  signed,
  bodyHash,
}: Signed): string {
  const names = signed.map(([name]) => name).join(';');
  const headers = signed.map(([name, value]) => `${name}:${value.trim()}\n`).join('');
  const canonical = [method, path, query, headers, names, bodyHash].join('\n');
  const day = amzDate.slice(0, 8);
  const scope = `${day}/${region}/s3/aws4_request`;
  const toSign = ['AWS4-HMAC-SHA256', amzDate, scope, sha256(canonical)].join('\n');
  const key = [region, 's3', 'aws4_request'].reduce(hmac, hmac(`AWS4${secretKey}`, day));
  return hmac(key, toSign).toString('hex');
}

export async function startBucketServer(credentials: {
  accessKey: string;
  secretKey: string;
  region: string;
}): Promise<BucketServer> {
  const objects = new Map<string, Buffer>();
  const uploads = new Map<string, Map<number, Buffer>>();

  function isSigned(request: IncomingMessage, body: Buffer, url: URL): boolean {
    const header = (name: string): string => String(request.headers[name] ?? '');
    const shape =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$/;
    const [, accessKey, , region, names = '', signature] = shape.exec(header('authorization')) ?? [];
    const amzDate = header('x-amz-date');
    const atMs = Date.parse(
      amzDate.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'),
    );
    const required = ['host', 'x-amz-content-sha256', 'x-amz-date'];
    if (accessKey !== credentials.accessKey || region !== credentials.region) return false;
    if (!required.every((name) => names.split(';').includes(name))) return false;
    if (!(Math.abs(Date.now() - atMs) < 900_000) || header('x-amz-content-sha256') !== sha256(body))
      return false;
    const query = [...url.searchParams]
      .map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`)
      .sort()
      .join('&');
    const signed = names.split(';').map((name) => [name, header(name)] as const);
    const expected = signatureOf({
      ...credentials,
      amzDate,
      method: request.method ?? '',
      path: url.pathname,
      query,
      signed,
      bodyHash: sha256(body),
    });
    return expected === signature;
  }

  type Reply = [status: number, body?: Buffer | string, headers?: Record<string, string>];
  function answer(request: IncomingMessage, body: Buffer): Reply {
    const url = new URL(request.url ?? '/', 'http://bucket');
    if (!isSigned(request, body, url)) return [403, '<Error><Code>SignatureDoesNotMatch</Code></Error>'];
    const { pathname: path, searchParams: query } = url;
    const object = objects.get(path);
    const upload = uploads.get(query.get('uploadId') ?? '');
    switch (request.method) {
      case 'HEAD':
        return object === undefined ? [404] : [200, '', { 'content-length': String(object.length) }];
      case 'GET': {
        if (object === undefined) return [404];
        const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(String(request.headers.range ?? '')) ?? [];
        return first === undefined ? [200, object] : [206, object.subarray(Number(first), Number(last) + 1)];
      }
      case 'PUT':
        if (upload === undefined) objects.set(path, body);
        else upload.set(Number(query.get('partNumber')), body);
        return [200, '', { etag: `"${sha256(body).slice(0, 32)}"` }];
      case 'POST': {
        if (upload === undefined) {
          const id = randomBytes(8).toString('hex');
          uploads.set(id, new Map());
          return [
            200,
            `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
          ];
        }
        const named = [...body.toString('utf8').matchAll(/<PartNumber>(\d+)<\/PartNumber>/g)].map(([, n]) =>
          Number(n),
        );
        objects.set(path, Buffer.concat(named.map((n) => upload.get(n) ?? Buffer.alloc(0))));
        return [200, '<CompleteMultipartUploadResult/>'];
      }
      case 'DELETE':
        if (upload === undefined) objects.delete(path);
        return [204];
      default:
        return [405];
    }
  }

  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(Buffer.from(chunk));
    const [status, body = '', headers = {}] = answer(request, Buffer.concat(chunks));
    response.writeHead(status, headers);
    response.end(request.method === 'HEAD' ? undefined : body);
  });
  return { ...(await listening(server)), objects };
}
