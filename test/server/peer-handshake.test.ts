import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MalformedError } from '../../src/lib/bytes.ts';
import { encodeFrame, type Frame, FrameReader } from '../../src/server/peer-frame.ts';
import {
  AcceptorHandshake,
  DiallerHandshake,
  type HandshakeStep,
  type RefusalReason,
  refusedFrame,
} from '../../src/server/peer-handshake.ts';
import type { DiallerIdentity, LinkKind } from '../../src/server/peer-hello.ts';
import { SimRandom } from '../sim/random.ts';

const address = { host: 'one.example', port: 6379, peerPort: 16_379 };
const base: DiallerIdentity = {
  ...{ clusterId: 'cluster', id: 1, name: 'one', incarnation: 77, secret: 'a secret' },
  address,
  fresh: false,
};
const other: DiallerIdentity = { ...base, id: 2, name: 'two', incarnation: 88 };

function frameOf(bytes: Uint8Array): Frame {
  const reader = new FrameReader(1000);
  reader.feed(bytes);
  return reader.next()!;
}

function dialler(self: Partial<DiallerIdentity> = {}, to = 2, seed = 1): DiallerHandshake {
  const kind: LinkKind = to === 0 ? 'visit' : 'control';
  return new DiallerHandshake({ ...base, ...self }, to, kind, new SimRandom(seed));
}

/** `refusal`: of whoever has proved itself. */
function acceptor(
  self: Partial<DiallerIdentity> = {},
  refusal: RefusalReason | undefined = undefined,
  seed = 2,
): AcceptorHandshake {
  return new AcceptorHandshake({ ...other, ...self }, () => refusal, new SimRandom(seed));
}

/** Lets the two speak until one has come to an end; `tamper` may change any frame on its way. */
function speak(
  from: DiallerHandshake,
  to: AcceptorHandshake,
  tamper: (frame: Uint8Array, number: number) => Uint8Array = (frame) => frame,
): { dialler: HandshakeStep | undefined; acceptor: HandshakeStep } {
  const hello = to.step(frameOf(tamper(from.opening, 0)));
  if (hello.next !== 'wait') return { dialler: undefined, acceptor: hello };
  const challenge = from.step(frameOf(tamper(hello.send, 1)));
  if (challenge.next !== 'wait') return { dialler: challenge, acceptor: hello };
  const proof = to.step(frameOf(tamper(challenge.send, 2)));
  if (proof.next === 'refuse') return { dialler: from.step(frameOf(tamper(proof.send, 3))), acceptor: proof };
  if (proof.next !== 'done') return { dialler: challenge, acceptor: proof };
  return { dialler: from.step(frameOf(tamper(to.welcome, 3))), acceptor: proof };
}

function sentBy(step: HandshakeStep): Uint8Array {
  if (step.next !== 'wait') throw new Error(`nothing is sent: ${step.next}`);
  return step.send;
}

test('two servers of one cluster and one secret get to know each other', () => {
  const [from, to] = [dialler(), acceptor()];
  expect(speak(from, to)).toEqual({ dialler: { next: 'done' }, acceptor: { next: 'done' } });
  const { nonce: _, ...hello } = to.hello!;
  const names = { clusterId: 'cluster', name: 'one', kind: 'control' };
  expect(hello).toEqual({ from: 1, to: 2, incarnation: 77, fresh: false, address, ...names });
});

test('without a secret, all but the secret is still checked', () => {
  const none = { secret: '' };
  expect(speak(dialler(none), acceptor(none)).dialler).toEqual({ next: 'done' });
  const wrong = speak(dialler(none), acceptor({ ...none, clusterId: 'another' }));
  expect(wrong.acceptor).toMatchObject({ next: 'refuse', reason: 'wrong cluster' });
});

test('a server of another cluster, one that is not meant, and one of the same id are refused at once', () => {
  expect(speak(dialler({ clusterId: 'x' }), acceptor()).acceptor).toMatchObject({ reason: 'wrong cluster' });
  expect(speak(dialler({}, 3), acceptor()).acceptor).toMatchObject({ reason: 'not the server meant' });
  expect(speak(dialler({ id: 2 }), acceptor()).acceptor).toMatchObject({ reason: 'own id' });
});

test('whether it is let in is told only to a server that has proved itself', () => {
  for (const reason of ['too many', 'no address', 'removed'] as const) {
    expect(speak(dialler({ secret: 'guessed' }), acceptor({}, reason)).acceptor).toMatchObject({
      reason: 'wrong secret',
    });
    const { dialler: end, acceptor: refusal } = speak(dialler(), acceptor({}, reason));
    expect(refusal).toMatchObject({ next: 'refuse', reason });
    expect(end).toEqual({ next: 'refused', reason, sealed: reason === 'removed' });
  }
});

test('that it was removed a server believes only with a seal of this handshake', () => {
  const refusalOf = (from: DiallerHandshake, to: AcceptorHandshake) => {
    const proof = from.step(frameOf(sentBy(to.step(frameOf(from.opening)))));
    const step = to.step(frameOf(sentBy(proof)));
    return step.next === 'refuse' ? step.send : new Uint8Array();
  };
  const recorded = refusalOf(dialler(), acceptor({}, 'removed'));
  const unsealed = refusedFrame('removed');
  const broken = Uint8Array.from(frameOf(recorded).payload);
  broken[20]! ^= 1;
  const welcome = acceptor();
  expect(speak(dialler(), welcome).acceptor.next).toBe('done');
  const otherSeal = Uint8Array.of(broken[0]!, ...frameOf(welcome.welcome).payload);
  for (const frame of [
    recorded,
    unsealed,
    encodeFrame('refused', broken),
    encodeFrame('refused', otherSeal),
  ]) {
    // At once, and in a handshake of its own.
    const [early, late] = [dialler(), dialler({}, 2, frame === recorded ? 5 : 1)];
    const believed = { next: 'refused', reason: 'removed', sealed: false };
    expect(early.step(frameOf(frame))).toEqual(believed);
    late.step(frameOf(sentBy(acceptor().step(frameOf(late.opening)))));
    expect(late.step(frameOf(frame))).toEqual(believed);
  }
});

test('a visitor is let in by a server of any cluster, for the secret, and does not visit itself', () => {
  const [from, to] = [dialler({ clusterId: 'its own' }, 0), acceptor()];
  expect(speak(from, to)).toEqual({ dialler: { next: 'done' }, acceptor: { next: 'done' } });
  expect(to.hello).toMatchObject({ clusterId: 'its own', kind: 'visit', to: 0 });
  const guess = speak(dialler({ secret: 'guessed' }, 0), acceptor());
  expect(guess.acceptor).toMatchObject({ next: 'refuse', reason: 'wrong secret' });
  const self = speak(dialler({}, 0), new AcceptorHandshake(base, () => undefined, new SimRandom(2)));
  expect(self.dialler).toMatchObject({ next: 'refuse', reason: 'own id' });
});

test('a hello to nobody that is no visit, from nobody, or from an impossible host is malformed', () => {
  const { payload } = frameOf(dialler().opening);
  const toAt = payload.length - 16 - 1 - 8 - 1 - 8;
  const fromAt = 6 + 4 + 'cluster'.length;
  const hostAt = payload.indexOf('.'.charCodeAt(0), fromAt);
  const changes: ((bytes: Uint8Array) => void)[] = [
    (bytes) => bytes.fill(0, toAt, toAt + 8),
    (bytes) => bytes.fill(3, toAt + 8, toAt + 9),
    (bytes) => bytes.fill(9, toAt + 8, toAt + 9),
    (bytes) => bytes.fill(0, fromAt, fromAt + 8),
    (bytes) => bytes.fill(10, hostAt, hostAt + 1),
  ];
  for (const change of changes) {
    const bytes = Uint8Array.from(payload);
    change(bytes);
    expect(() => acceptor().step({ type: 'hello', payload: bytes })).toThrow(MalformedError);
  }
});

test('a server with another secret, or none, is refused by whoever finds out first', () => {
  for (const secret of ['another secret', '', 'a secret ']) {
    const refusal = { next: 'refuse', reason: 'wrong secret' };
    expect(speak(dialler({ secret }), acceptor()).acceptor).toMatchObject(refusal);
    expect(speak(dialler(), acceptor({ secret })).acceptor).toMatchObject(refusal);
  }
});

test('an acceptor that lets everybody in, and does not know the secret, is refused by its welcome', () => {
  const from = dialler();
  const to = acceptor({ secret: 'guessed' });
  const challenge = sentBy(to.step(frameOf(from.opening)));
  expect(from.step(frameOf(challenge)).next).toBe('wait');
  // It made its welcome with another guesser.
  const guesser = dialler({ secret: 'guessed' });
  const guessed = acceptor({ secret: 'guessed' });
  expect(speak(guesser, guessed).acceptor.next).toBe('done');
  expect(from.step(frameOf(guessed.welcome))).toMatchObject({ next: 'refuse', reason: 'wrong secret' });
});

test('an acceptor shows no seal before the dialler has proved itself', () => {
  const to = acceptor();
  const challenge = frameOf(sentBy(to.step(frameOf(dialler().opening))));
  // Id, incarnation and nonce.
  expect(challenge.payload.length).toBe(8 + 8 + 16);
  expect(() => to.welcome).toThrow('only who has proved itself is welcome');
});

test('another version of the protocol is refused as such, whatever follows in its hello', () => {
  const hello = Uint8Array.from(frameOf(dialler().opening).payload);
  hello[4] = 1;
  const step = acceptor().step({ type: 'hello', payload: hello.subarray(0, 9) });
  expect(step).toMatchObject({ next: 'refuse', reason: 'wrong version' });
});

test('a recorded handshake is worth nothing in another one', () => {
  const recorded: Uint8Array[] = [];
  speak(dialler(), acceptor(), (frame) => {
    recorded.push(frame);
    return frame;
  });
  const to = acceptor({}, undefined, 3);
  expect(to.step(frameOf(recorded[0]!)).next).toBe('wait');
  expect(to.step(frameOf(recorded[2]!))).toMatchObject({ next: 'refuse', reason: 'wrong secret' });
  const from = dialler({}, 2, 4);
  expect(from.step(frameOf(recorded[1]!)).next).toBe('wait');
  expect(from.step(frameOf(recorded[3]!))).toMatchObject({ next: 'refuse', reason: 'wrong secret' });
});

test("a dialler's own seal, sent back to it, is not an acceptor's", () => {
  const from = dialler();
  const challenge = sentBy(acceptor().step(frameOf(from.opening)));
  const proof = frameOf(sentBy(from.step(frameOf(challenge))));
  const reflected = { type: 'welcome' as const, payload: proof.payload };
  expect(from.step(reflected)).toMatchObject({ next: 'refuse', reason: 'wrong secret' });
});

test('with any byte of any message changed, the two never both believe in the same handshake', () => {
  const frame = fc.integer({ min: 0, max: 3 });
  fc.assert(
    fc.property(frame, fc.nat(), fc.integer({ min: 1, max: 255 }), (which, place, change) => {
      const [from, to] = [dialler(), acceptor()];
      let result: ReturnType<typeof speak> | undefined;
      try {
        result = speak(from, to, (bytes, number) => {
          if (number !== which) return bytes;
          // Changed by somebody who can compute checksums.
          const { type, payload } = frameOf(bytes);
          const changed = Uint8Array.from(payload);
          changed[place % changed.length]! ^= change;
          return encodeFrame(type, changed);
        });
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError);
      }
      expect(result?.dialler?.next === 'done' && result.acceptor.next === 'done').toBe(false);
    }),
    { numRuns: 1000 },
  );
});

test('a frame out of its order is malformed', () => {
  const welcome = { type: 'welcome' as const, payload: new Uint8Array(32) };
  expect(() => dialler().step(welcome)).toThrow(MalformedError);
  expect(() => acceptor().step(welcome)).toThrow(MalformedError);
  expect(() => acceptor().step({ type: 'proof', payload: new Uint8Array(32) })).toThrow(MalformedError);
  const to = acceptor();
  to.step(frameOf(dialler().opening));
  expect(() => to.step(frameOf(dialler().opening))).toThrow(MalformedError);
  expect(() => to.step({ type: 'messages', payload: new Uint8Array(3) })).toThrow(MalformedError);
});

test('a refusal tells its reason, and one without a known reason is malformed', () => {
  const refused = dialler().step(frameOf(refusedFrame('wrong cluster')));
  expect(refused).toEqual({ next: 'refused', reason: 'wrong cluster', sealed: false });
  for (const payload of [[], [99], [0, 0], [6, 0], [1, ...new Uint8Array(32)]]) {
    expect(() => dialler().step({ type: 'refused', payload: Uint8Array.from(payload) })).toThrow(
      MalformedError,
    );
  }
});

test('the secret is not in what is sent', () => {
  const sent: Uint8Array[] = [];
  const secret = 'not-to-be-seen';
  speak(dialler({ secret }), acceptor({ secret }), (frame) => {
    sent.push(frame);
    return frame;
  });
  expect(sent).toHaveLength(4);
  for (const frame of sent) expect(Buffer.from(frame).includes(secret)).toBe(false);
});
