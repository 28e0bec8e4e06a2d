/**
 * Rule "ambient": time, chance and scheduling come from the environment that a program is given, never from the process.
 *
 * A simulation replays only what passes through it. A clock read on the side, a timer, a random byte, or a race between
 * promises makes the same seed run differently; a weak reference makes it depend on the garbage collector.
 */
import { references } from "./references.ts"
import { lineAt, type Reference, type Source } from "./source.ts"
import type { Project, Violation } from "./violation.ts"

const CLOCKS = ["Date.now", "performance", "process.hrtime", "process.uptime", "Temporal.Now"]
const TIMERS = [
  "setTimeout",
  "setInterval",
  "setImmediate",
  "queueMicrotask",
  "process.nextTick",
  "scheduler",
  "AbortSignal.timeout",
  "Atomics.wait",
  "Atomics.waitAsync",
]
const CHANCE = [
  "Math.random",
  "crypto.getRandomValues",
  "crypto.randomUUID",
  "crypto.randomUUIDv7",
  "crypto.randomBytes",
  "crypto.randomInt",
  "crypto.randomFill",
  "crypto.randomFillSync",
  "crypto.pseudoRandomBytes",
  "crypto.generateKey",
  "crypto.generateKeySync",
  "crypto.generateKeyPair",
  "crypto.generateKeyPairSync",
  "crypto.subtle.generateKey",
]
const COLLECTOR = ["WeakRef", "FinalizationRegistry"]
const AMBIENT = [...CLOCKS, ...TIMERS, ...CHANCE, ...COLLECTOR]

/** Names that draw chance wherever they come from: key generation of signature libraries. */
const CHANCE_ANYWHERE = /(^|\.)(randomBytes|randomSecretKey|randomPrivateKey|getRandomValues)$/

/** Objects that must not be handed on whole, since their clock or chance could then be read out of sight. */
const WHOLE = new Set(["Date", "Math", "crypto"])

const RACES = ["Promise.race", "Promise.any"]
const RACELESS = new Set(["packages/consensus", "packages/stateful"])

const under = (name: string, names: ReadonlyArray<string>): boolean =>
  names.some((banned) => name === banned || name.startsWith(`${banned}.`))

const broken = (use: Reference, source: Source): boolean => {
  if (use.how === "test") return false
  if (under(use.name, AMBIENT) || CHANCE_ANYWHERE.test(use.name)) return true
  if (use.name === "Date") return use.how !== "new" || use.bare
  if (WHOLE.has(use.name)) return true
  return under(use.name, RACES) && source.role === "src" && RACELESS.has(source.unit.folder)
}

/** Reports every ambient clock, timer, source of chance, weak reference, and race in the deterministic packages. */
export const ambient = (project: Project): ReadonlyArray<Violation> =>
  project.sources.flatMap((source) =>
    references(source)
      .filter((use) => broken(use, source))
      .map((use) => ({
        rule: "ambient",
        path: source.path,
        line: lineAt(source.text, use.at),
        what: use.name,
        message: `${use.name} is ambient: take time, chance and scheduling from the environment`,
      })),
  )
