/**
 * What a marshal remembers of its peers: who lied, who fails to answer, who is busy with us.
 *
 * Terms: a *failure* is no answer in time, or none at all; that a peer does not have something is not one.
 *
 * Invariant: a peer that lied is asked for nothing until its time is over, and no peer has more than `PEER_REQUESTS_MAX`
 * of our requests. Failures only change the order: a slow peer is better than none. Plain and bounded; time is given.
 */
import { bytesKey } from "@coppice/codec"
import { PEER_BLAMED_MS, PEER_FAILURES_MAX, PEER_REQUESTS_MAX, PEERS_REMEMBERED_MAX } from "../limits.ts"

interface Conduct {
  asked: number
  failures: number
  blamedUntilMs: number
}

/** Mutable; one per marshal. */
export class PeerBook {
  readonly #conducts = new Map<string, Conduct>()

  /** Who may be asked now, the most reliable first, those alike in the given order. */
  askable(peers: ReadonlyArray<Uint8Array>, nowMs: number): ReadonlyArray<Uint8Array> {
    const failuresOf = (peer: Uint8Array) => this.#conducts.get(bytesKey(peer))?.failures ?? 0
    return peers
      .filter((peer) => (this.#conducts.get(bytesKey(peer))?.blamedUntilMs ?? 0) <= nowMs)
      .toSorted((a, b) => failuresOf(a) - failuresOf(b))
  }

  /** Takes one of a peer's places; false when it has none left. */
  take(peer: Uint8Array): boolean {
    const conduct = this.#conduct(peer)
    if (conduct.asked >= PEER_REQUESTS_MAX) return false
    conduct.asked++
    return true
  }

  /** Gives the place back. */
  leave(peer: Uint8Array): void {
    this.#conduct(peer).asked--
  }

  failed(peer: Uint8Array): void {
    const conduct = this.#conduct(peer)
    conduct.failures = Math.min(PEER_FAILURES_MAX, conduct.failures + 1)
  }

  answered(peer: Uint8Array): void {
    this.#conduct(peer).failures = 0
  }

  lied(peer: Uint8Array, nowMs: number): void {
    this.#conduct(peer).blamedUntilMs = nowMs + PEER_BLAMED_MS
  }

  /** Forgets the peer heard of longest ago beyond the limit; one that is being asked stays. */
  #conduct(peer: Uint8Array): Conduct {
    const key = bytesKey(peer)
    const conduct = this.#conducts.get(key) ?? { asked: 0, failures: 0, blamedUntilMs: 0 }
    this.#conducts.delete(key)
    this.#conducts.set(key, conduct)
    if (this.#conducts.size > PEERS_REMEMBERED_MAX) {
      const idle = [...this.#conducts].find(([other, { asked }]) => asked === 0 && other !== key)
      if (idle !== undefined) this.#conducts.delete(idle[0])
    }
    return conduct
  }
}
