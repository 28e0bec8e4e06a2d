/**
 * Which layers lie under one, by depth: shared between all layers of a chain.
 *
 *   chunks   [ 0 .. 63 ] [ 64 .. 127 ] [ 128 ..        a child writes itself behind its parent into the same chunk, or
 *                                                      into a copy of it where a sibling stands already
 *
 * Terms: *depth* counts layers since the process started. The *start* of a layer is the log size before it.
 *
 * Invariant: what a path says of depths up to that of the layer that holds it never changes. So a chain of n layers takes
 * memory in proportion to n, forks included, where a list for each layer would take the square of it; and a look-up is two
 * array reads, however long the chain is.
 */
import { type Family, Location } from "@coppice/merkle"

/** Layers of one chunk: a power of two. A fork copies so many at most. */
const CHUNK_LAYERS = 64
const CHUNK_BITS = 6

const asItIs = (start: number): number => start

class Chunk {
  readonly ids = new Int32Array(CHUNK_LAYERS)
  readonly starts = new Float64Array(CHUNK_LAYERS)
  /** One more than the highest place that is written. */
  used = 0

  put(place: number, id: number, start: number): this {
    this.ids[place] = id
    this.starts[place] = start
    this.used = place + 1
    return this
  }

  /** A chunk with the same first layers. */
  fork(places: number): Chunk {
    const fork = new Chunk()
    fork.ids.set(this.ids.subarray(0, places))
    fork.starts.set(this.starts.subarray(0, places))
    return fork
  }
}

/** See the head of this file. Places that no layer of a path has written are zero: no living layer has that id there. */
export class Path {
  private readonly chunks: ReadonlyArray<Chunk>
  /** Number of the first chunk held. */
  private readonly first: number

  private constructor(chunks: ReadonlyArray<Chunk>, first: number) {
    this.chunks = chunks
    this.first = first
  }

  /** The path of a layer with nothing under it. */
  static root(depth: number, id: number): Path {
    return new Path([new Chunk().put(depth % CHUNK_LAYERS, id, 0)], depth >>> CHUNK_BITS)
  }

  /** The path of a child of the layer at `depth - 1` that holds this one. Layers above `oldest` stay, older ones may go. */
  extend(depth: number, id: number, start: number, oldest: number): Path {
    const place = depth % CHUNK_LAYERS
    const tail = this.chunks.at(-1)!
    if (place > 0 && tail.used === place) {
      tail.put(place, id, start)
      return this
    }
    const first = Math.max(this.first, oldest >>> CHUNK_BITS)
    const kept = this.chunks.slice(first - this.first, place > 0 ? -1 : undefined)
    const chunk = place > 0 ? tail.fork(place) : new Chunk()
    return new Path([...kept, chunk.put(place, id, start)], first)
  }

  /** Whether the layer at a depth, which is not below that of the path's holder, has an id. */
  has(id: number, depth: number): boolean {
    const chunk = (depth >>> CHUNK_BITS) - this.first
    return chunk >= 0 && this.chunks[chunk]!.ids[depth % CHUNK_LAYERS] === id
  }

  /** Id of the layer at a depth that is held. */
  at(depth: number): number {
    return this.chunks[(depth >>> CHUNK_BITS) - this.first]!.ids[depth % CHUNK_LAYERS]!
  }

  private startOf(depth: number): number {
    return this.chunks[(depth >>> CHUNK_BITS) - this.first]!.starts[depth % CHUNK_LAYERS]!
  }

  /** Id of the newest layer down from `depth` that starts at or before a location. */
  holderOf(location: number, depth: number): number {
    return this.at(this.newest(depth, location, asItIs))
  }

  /** The same for a node: by the position at which the nodes of a layer start. */
  nodeHolderOf(position: number, depth: number, family: Family): number {
    return this.at(this.newest(depth, position, (start) => family.size(Location(start))))
  }

  /** Depth of the newest layer down from `depth` whose measured start is at most `most`. */
  private newest(depth: number, most: number, measure: (start: number) => number): number {
    let low = this.first * CHUNK_LAYERS
    let high = depth
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (measure(this.startOf(middle)) <= most) low = middle
      else high = middle - 1
    }
    return low
  }
}
