/**
 * Asks the coordinator, which is wherever the leader is: again and again, until it answers or time is up. Every question of
 * a client may be asked twice without harm: a submission has a token, and what is cancelled or removed stays so.
 */
import type { ServiceHost } from '../../server/service.ts';
import { type Answer, decodeMessage, encodeMessage, type Question } from './messages.ts';

export type Asked =
  | Exclude<Answer, { readonly answer: 'not-coordinator' }>
  /** `mayBeDone`: a question may have arrived, and its answer was lost. */
  | { readonly answer: 'none'; readonly mayBeDone: boolean };

export const ASK_MS_MAX = 10_000;
const AGAIN_MS = 100;

export async function askCoordinator(
  host: ServiceHost,
  question: Question,
  isWanted: () => boolean = () => true,
): Promise<Asked> {
  const { clock } = host;
  const payload = encodeMessage(question);
  const deadlineMs = clock.monotonicMs() + ASK_MS_MAX;
  let mayBeDone = false;
  while (isWanted() && clock.monotonicMs() < deadlineMs) {
    const { leader } = host;
    if (leader !== 0) {
      const answer = await call(host, leader, payload);
      if (answer === undefined) mayBeDone = true;
      else if (answer.answer !== 'not-coordinator') return answer;
    }
    await new Promise<void>((resolve) => clock.after(AGAIN_MS, resolve));
  }
  return { answer: 'none', mayBeDone };
}

function call(host: ServiceHost, member: number, payload: Uint8Array): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    host.call(member, payload, (answer) => {
      resolve(answer === undefined ? undefined : decodeMessage<Answer>(answer));
    });
  });
}
