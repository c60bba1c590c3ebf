/** RFC 6962 trees against the vectors of the certificate-transparency reference implementation. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LeafWindow } from '../../src/ledger/leaf-window.ts';
import { CompactRange, inclusionProof, leafHash, verifyInclusion } from '../../src/ledger/merkle.ts';

const entries = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
];
const leaves = entries.map((hex) => leafHash(Buffer.from(hex, 'hex')));

const roots = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

function treeOf(hashes: readonly Buffer[]): CompactRange {
  const tree = new CompactRange();
  for (const hash of hashes) tree.append(hash);
  return tree;
}

/** The definition of RFC 6962 2.1, word for word, to hold the compact form against. */
function rootByDefinition(hashes: readonly Buffer[]): string {
  const fold = (part: readonly Buffer[]): Buffer => {
    const [only] = part;
    if (part.length === 1 && only !== undefined) return only;
    let split = 1;
    while (split * 2 < part.length) split *= 2;
    const node = Buffer.concat([Buffer.of(1), fold(part.slice(0, split)), fold(part.slice(split))]);
    return Buffer.from(createHash('sha256').update(node).digest('hex'), 'hex');
  };
  return fold(hashes).toString('hex');
}

describe('the Merkle tree', () => {
  it.each(roots.map((root, size) => ({ size, root })))(
    'has the known root at $size leaves',
    ({ size, root }) => {
      expect(treeOf(leaves.slice(0, size)).root().toString('hex')).toBe(root);
    },
  );

  it('goes on from its stored frontier', () => {
    for (let cut = 0; cut <= leaves.length; cut += 1) {
      const stored = treeOf(leaves.slice(0, cut));
      const tree = CompactRange.fromHex(stored.size, stored.frontierHex());
      for (const leaf of leaves.slice(cut)) tree.append(leaf);
      expect(tree.root().toString('hex')).toBe(roots[8]);
    }
  });

  it('agrees with the definition at any size', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 8 }), { minLength: 1, maxLength: 200 }), (texts) => {
        const hashes = texts.map((text) => leafHash(text));
        expect(treeOf(hashes).root().toString('hex')).toBe(rootByDefinition(hashes));
      }),
      { numRuns: 50 },
    );
  });

  it.each([
    [3, ['6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d']],
    [1.5, []],
    [-1, []],
    [1, ['00']],
  ])('refuses a frontier that cannot be one of %s leaves', (size, frontier) => {
    expect(() => CompactRange.fromHex(size, frontier)).toThrow(RangeError);
  });
});

describe('an inclusion proof', () => {
  it.each([
    { index: 0, size: 1, proof: [] },
    {
      index: 0,
      size: 8,
      proof: [
        '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
        '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
        '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
      ],
    },
    {
      index: 5,
      size: 8,
      proof: [
        'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
        'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
        'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
      ],
    },
    {
      index: 2,
      size: 3,
      proof: ['fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125'],
    },
    {
      index: 1,
      size: 5,
      proof: [
        '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
        '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
        'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
      ],
    },
  ])('of leaf $index in $size is the known one', async ({ index, size, proof }) => {
    const made = await inclusionProof(leaves, index, size);
    expect(made.map((hash) => hash.toString('hex'))).toEqual(proof);
  });

  it('proves every leaf of every size, and nothing else', async () => {
    for (let size = 1; size <= leaves.length; size += 1) {
      const root = treeOf(leaves.slice(0, size)).root();
      for (let index = 0; index < size; index += 1) {
        const proof = await inclusionProof(leaves, index, size);
        for (const [other, leaf] of leaves.entries()) {
          expect(verifyInclusion({ leaf, index, size, proof, root })).toBe(other === index);
        }
      }
    }
  });

  it('fails with a changed root, a missing or surplus hash, or a place outside', async () => {
    const [leaf] = leaves;
    if (leaf === undefined) throw new Error('no leaf');
    const root = treeOf(leaves).root();
    const proof = await inclusionProof(leaves, 0, 8);
    const good = { leaf, index: 0, size: 8, proof, root };
    expect(verifyInclusion(good)).toBe(true);
    expect(verifyInclusion({ ...good, root: leaf })).toBe(false);
    expect(verifyInclusion({ ...good, proof: proof.slice(1) })).toBe(false);
    expect(verifyInclusion({ ...good, proof: [...proof, leaf] })).toBe(false);
    expect(verifyInclusion({ ...good, index: 8 })).toBe(false);
    expect(verifyInclusion({ ...good, index: -1 })).toBe(false);
    await expect(inclusionProof(leaves.slice(0, 4), 0, 8)).rejects.toThrow('4 leaves');
  });
});

describe('the window of the newest leaves', () => {
  it('knows every earlier tree that it still covers, in any order, and says so where it does not', () => {
    const window = new LeafWindow({ chunkLeaves: 2, chunksMax: 2 });
    for (const leaf of leaves) window.push(leaf);
    // Two chunks of two leaves: the trees of 4 to 8 leaves.
    for (const size of [4, 5, 8, 6, 7, 4]) expect(window.stateAt(size)?.root).toBe(roots[size]);
    expect(window.stateAt(4)?.hash).toBe(leaves[3]?.toString('hex'));
    for (const size of [0, 3, 9]) expect(window.stateAt(size)).toBeNull();
  });

  it('starts with the empty tree', () => {
    expect(new LeafWindow().stateAt(0)).toEqual({ size: 0, root: roots[0], hash: '0'.repeat(64) });
  });
});
