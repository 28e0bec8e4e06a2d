/**
 * `coppice torture`: a real process on real storage, killed with SIGKILL again and again, checked after each kill.
 *
 * Invariant: a run in which too few kills hit a flush fails: it would show nothing.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Clock, Console, Data, Effect, Option, Random, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { KILLS_INSIDE_SHARE, KILLS_MAX } from "../limits.ts"
import { untilStopped } from "../signals.ts"
import { type Aim, type Kill, killOnce, makeTorture } from "../torture/supervisor.ts"

/** Too few kills hit a flush. */
export class Vacuous extends Data.TaggedError("Vacuous")<{ readonly kills: number; readonly inside: number }> {}

/** Whether too few of the kills hit a flush for the run to show anything. */
export const isVacuous = (kills: number, inside: number): boolean => inside < kills * KILLS_INSIDE_SHARE

/** One kill in twenty-five comes during the start, one at any time; the others are aimed at a flush. */
const aimOf = (kill: number): Aim => (kill % 25 === 7 ? "start" : kill % 25 === 13 ? "any time" : "flush")

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "coppice-torture-"))),
  (directory, exit) =>
    exit._tag === "Success"
      ? Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
      : Console.error(`the directory is kept: ${directory}`),
)

const line = (kill: Kill, index: number, kills: number): string => {
  const where = kill.inside ? "inside a flush" : kill.aim === "start" ? "during the start" : "between flushes"
  return `kill ${String(index + 1).padStart(String(kills).length)}/${kills}  ${where.padEnd(16)}  stands at height ${kill.height}`
}

const run = Effect.fnUntraced(function* (kills: number, seed: number, json: boolean) {
  const say = json ? Console.error : Console.log
  const startMs = yield* Clock.currentTimeMillis
  const torture = makeTorture(yield* temporary)
  const done: Array<Kill> = []
  for (let i = 0; i < kills; i++) {
    const kill = yield* killOnce(torture, seed + i, aimOf(i))
    done.push(kill)
    yield* say(line(kill, i, kills))
  }
  const inside = done.filter((kill) => kill.inside).length
  const seconds = ((yield* Clock.currentTimeMillis) - startMs) / 1000
  const { acknowledged, directory } = torture
  const height = done.at(-1)?.height ?? 0
  const result = { kills, inside, lost: 0, acknowledged, height, seconds, flushMs: torture.times.shortestMs, seed }
  if (json) yield* Console.log(JSON.stringify(result))
  else yield* say(`${kills} kills, ${inside} inside a flush: nothing acknowledged was lost, every root was the block's`)
  if (isVacuous(kills, inside)) return yield* new Vacuous({ kills, inside })
  return directory
}, Effect.scoped)

/** The command. */
export const torture = Command.make(
  "torture",
  {
    kills: Flag.Int("kills").pipe(
      Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: KILLS_MAX }))),
      Flag.withDescription("How often to kill the process (default: 50)"),
      Flag.withDefault(50),
    ),
    seed: Flag.Int("seed").pipe(Flag.withDescription("Seed of the kills and of the load"), Flag.optional),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("One line of JSON at the end on standard output, progress on standard error"),
      Flag.withDefault(false),
    ),
  },
  Effect.fnUntraced(function* ({ kills, seed, json }) {
    const chosen = Option.isSome(seed) ? seed.value : yield* Random.nextIntBetween(1, 1_000_000)
    yield* Random.withSeed(untilStopped(run(kills, chosen, json)), chosen)
  }),
).pipe(Command.withDescription("Kill a node with SIGKILL inside its flushes, and check what it left each time"))
