/**
 * A crowd that connects while the process is not looking. Suspended, it accepts nobody: what it answers afterwards is
 * what the kernel kept for it, and a request that was sent by then must not be cut off.
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ButtonScene, openButtonScene } from '../support/button-scene.ts';

const CROWD = 900;
const kept = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'));

describe.skipIf(kept < CROWD)('a crowd that connects while nobody accepts', () => {
  let scene: ButtonScene;
  const sockets: Socket[] = [];
  beforeEach(async () => {
    scene = await openButtonScene();
    await scene.start();
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await scene.close();
  });

  /** Connected, with a request sent; resolves with the status line, or with what became of it instead. */
  function asks(port: number, connected: () => void): Promise<string> {
    return new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        connected();
        socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n');
      });
      sockets.push(socket);
      socket.once('data', (answer) => resolve(String(answer).slice(0, 12)));
      socket.once('error', ({ message }) => resolve(message));
      socket.once('close', () => resolve('closed'));
    });
  }

  async function crowded(port: number, suspend: (on: boolean) => void): Promise<Set<string>> {
    suspend(true);
    let inside = 0;
    const all = new Promise<void>((resolve) => {
      const asked = Array.from({ length: CROWD }, () =>
        asks(port, () => {
          inside += 1;
          if (inside === CROWD) resolve();
        }),
      );
      answers = Promise.all(asked);
    });
    await all;
    suspend(false);
    return new Set(await answers);
  }
  let answers: Promise<string[]> = Promise.resolve([]);

  it('is let in and answered by the service', async () => {
    const { service, serviceUrl } = scene;
    expect(await crowded(Number(new URL(serviceUrl).port), (on) => service.suspend(on))).toEqual(
      new Set(['HTTP/1.1 200']),
    );
  });

  it("is let in and answered by the button's process", async () => {
    const { pid, url } = scene.button();
    const suspend = (on: boolean) => process.kill(pid, on ? 'SIGSTOP' : 'SIGCONT');
    expect(await crowded(Number(new URL(url).port), suspend)).toEqual(new Set(['HTTP/1.1 200']));
  });
});
