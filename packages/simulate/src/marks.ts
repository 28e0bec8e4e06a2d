/**
 * The application of the scenarios: marks on a board of a few cells, over one database or over three of different
 * families, and a model of it in maps.
 *
 *   mark    board    any         cell -> value, or removed
 *           index    current     value's name -> cell, in order            three databases only
 *           history  keyless     every mark, in order                      three databases only
 *
 * Its rules change on the way of every run: from `UPGRADE_HEIGHT` on a mark leaves another value.
 *
 * Invariant: the hooks and `MarksModel` decide the same from the same blocks, by different code.
 */
import { Bytes, Struct, Text, U32, U64 } from "@coppice/codec"
import { Height } from "@coppice/consensus"
import { nodeHasher } from "@coppice/crypto/node"
import { Location, Qmdb } from "@coppice/qmdb"
import {
  Application,
  type Databases,
  type InputProvider,
  type Readers,
  type StandardApplication,
  type StandardBlock,
} from "@coppice/stateful"
import { drawnInputs } from "@coppice/stateful/diagnosis"
import { corruptStandard, type Subject } from "./subject.ts"

/** One write of a cell; one removal when its number is a multiple of `CLEAR_EVERY`. */
export interface Mark {
  readonly cell: number
  readonly number: bigint
}

const CELLS = 40
const CLEAR_EVERY = 6n
const VALUE_BYTES = 24
const HISTORY_KEPT = 100
/** Height from which the second rules hold. Scenarios are higher, and have replays, crashes and forks across it. */
export const UPGRADE_HEIGHT = 4
/** What each of the two rules makes of a mark, so that one is not taken for the other. */
const SALTS = { first: 0n, second: 101n } as const

const MarkCodec = Struct({ cell: U32, number: U64 })

const keyOf = (cell: number): Uint8Array => {
  const key = new Uint8Array(32)
  new DataView(key.buffer).setUint32(28, cell)
  return key
}
const valueOf = ({ cell, number }: Mark, salt: bigint): Uint8Array =>
  new Uint8Array(VALUE_BYTES).fill(Number((BigInt(cell) * 31n + number + salt) % 251n))
const nameOf = (cell: number): string => `cell ${cell}`

const board = Qmdb.any({ key: Bytes(32), value: Bytes(VALUE_BYTES) })
const index = Qmdb.current({ key: Text(16), value: U64, ordered: true })
const history = Qmdb.keyless({ value: U64, family: "mmr" })

const oneDatabase = { board }
const threeDatabases = { board, index, history }

/** Databases of the application in its two sizes. */
export type OneDatabase = typeof oneDatabase
/** See `OneDatabase`. */
export type ThreeDatabases = typeof threeDatabases

/** Marks without end, the same for the same start, each proposed once by its node. */
const makeMarks = (perBlock: number, from: bigint): InputProvider<Mark> => {
  let number = from
  const mark = (): Mark => ({ cell: Number((number * 7919n) % BigInt(CELLS)), number: number++ })
  return drawnInputs(
    () => Array.from({ length: perBlock }, mark),
    () => 0,
  )
}

const write = (
  {
    board,
  }: {
    readonly board: {
      put: (k: Uint8Array, v: Uint8Array) => void
      get: (k: Uint8Array) => unknown
      remove: (k: Uint8Array) => void
    }
  },
  mark: Mark,
  salt: bigint,
): boolean => {
  const key = keyOf(mark.cell)
  if (mark.number % CLEAR_EVERY !== 0n) {
    board.put(key, valueOf(mark, salt))
    return true
  }
  if (board.get(key) === undefined) return false
  board.remove(key)
  return false
}

const common = { name: "marks", transaction: MarkCodec, hasher: nodeHasher } as const

const oneRules = (salt: bigint) =>
  Application.make({
    ...common,
    databases: oneDatabase,
    execute: (batches, mark) => void write(batches, mark, salt),
  })

const threeRules = (salt: bigint) =>
  Application.make({
    ...common,
    databases: threeDatabases,
    execute: (batches, mark) => {
      const isThere = write(batches, mark, salt)
      const { index, history } = batches
      const name = nameOf(mark.cell)
      if (isThere) index.put(name, mark.number)
      else if (index.get(name) !== undefined) index.remove(name)
      const at = history.append(mark.number)
      history.withFloor(Location(Math.max(0, at - HISTORY_KEPT)))
    },
  })

const upgraded = <M extends Databases>(rules: (salt: bigint) => StandardApplication<Mark, M>, from: number) =>
  Application.upgrade(rules(SALTS.first), [{ from: Height(from), application: rules(SALTS.second) }])

/** Marks over one database, as every validator executes them. */
export const overOne = upgraded(oneRules, UPGRADE_HEIGHT)

/** The same over three. */
export const overThree = upgraded(threeRules, UPGRADE_HEIGHT)

/** What the databases must hold, from the final blocks alone. */
class MarksModel<M extends Databases> {
  readonly #last = new Map<number, Mark & { readonly value: Uint8Array }>()
  readonly #history: Array<bigint> = []

  advance({ height, transactions }: StandardBlock<Mark, M>): void {
    const salt = height < UPGRADE_HEIGHT ? SALTS.first : SALTS.second
    for (const mark of transactions) {
      if (mark.number % CLEAR_EVERY === 0n) this.#last.delete(mark.cell)
      else this.#last.set(mark.cell, { ...mark, value: valueOf(mark, salt) })
      this.#history.push(mark.number)
    }
  }

  /** The first thing that differs, in words; undefined when all agree. */
  difference(readers: Readers<OneDatabase> & Partial<Readers<ThreeDatabases>>): string | undefined {
    if (readers.board.active !== this.#last.size) return `${readers.board.active} cells instead of ${this.#last.size}`
    for (let cell = 0; cell < CELLS; cell++) {
      const mark = this.#last.get(cell)
      const value = readers.board.get(keyOf(cell))
      const expected = mark?.value
      if (value?.join() !== expected?.join()) return `cell ${cell} is ${value}, not ${expected}`
      if (readers.index !== undefined && readers.index.get(nameOf(cell)) !== mark?.number)
        return `index of cell ${cell}`
    }
    return readers.history === undefined ? undefined : this.#historyDifference(readers.history)
  }

  #historyDifference({ get, target, pruned }: Readers<ThreeDatabases>["history"]): string | undefined {
    const found: Array<bigint> = []
    for (let at = Math.max(pruned, target.end - HISTORY_KEPT); at < target.end; at++) {
      const value = get(Location(at))
      if (value !== undefined) found.push(value)
    }
    const expected = found.length === 0 ? [] : this.#history.slice(-found.length)
    return found.join() === expected.join() ? undefined : `the history ends ${found.join()}, not ${expected.join()}`
  }
}

const subjectOf = <M extends Databases>(
  application: StandardApplication<Mark, M>,
  difference: (model: MarksModel<M>, readers: Readers<M>) => string | undefined,
  marksPerBlock: number,
): Subject<StandardBlock<Mark, M>, M> => ({
  application: (validator) => application.withInputs(makeMarks(marksPerBlock, BigInt(validator + 1) * 1_000_000n)),
  corrupt: corruptStandard(application),
  model: () => {
    const model = new MarksModel<M>()
    return { advance: (block) => model.advance(block), difference: (readers) => difference(model, readers) }
  },
})

/** Marks over one database. Rules that change elsewhere than at `UPGRADE_HEIGHT` are not those of the model. */
export const marksOverOne = (
  marksPerBlock: number,
  upgradeHeight = UPGRADE_HEIGHT,
): Subject<StandardBlock<Mark, OneDatabase>, OneDatabase> =>
  subjectOf(upgraded(oneRules, upgradeHeight), (model, readers) => model.difference(readers), marksPerBlock)

/** Marks over three databases of different families. */
export const marksOverThree = (marksPerBlock: number): Subject<StandardBlock<Mark, ThreeDatabases>, ThreeDatabases> =>
  subjectOf(overThree, (model, readers) => model.difference(readers), marksPerBlock)
