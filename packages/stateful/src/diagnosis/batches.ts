/**
 * Batches whose calls pass through somebody.
 *
 *   hook --> batches.counts.put(k, v) --> intercept("counts", "put", [k, v], call) --> the batch
 *
 * Invariant: a hook sees the same methods with the same results; sealing what it was given seals what lies behind it.
 */
import type { HookTools } from "../application.ts"
import type { Batches, Databases } from "../database-set.ts"

/** What a call on a batch passes through; `call` makes it. `args` is undefined where a property is read. */
export type Intercept = (
  member: string,
  method: string,
  args: ReadonlyArray<unknown> | undefined,
  call: () => unknown,
) => unknown

/** Whether reading a property runs code: it is a call like any other. */
const isAccessor = (of: object, key: string): boolean => {
  for (let at: object | null = of; at !== null; at = Object.getPrototypeOf(at) as object | null) {
    const found = Object.getOwnPropertyDescriptor(at, key)
    if (found !== undefined) return found.get !== undefined
  }
  return false
}

const through = (member: string, batch: object, intercept: Intercept): object => {
  // A hook asks for the same few methods again and again.
  const accessors = new Map<string, boolean>()
  const methods = new Map<
    string,
    { readonly of: unknown; readonly made: (...args: ReadonlyArray<unknown>) => unknown }
  >()
  const accessed = (key: string): boolean => {
    const known = accessors.get(key) ?? isAccessor(batch, key)
    accessors.set(key, known)
    return known
  }
  const method = (key: string, value: (...args: never) => unknown) => {
    const known = methods.get(key)
    if (known?.of === value) return known.made
    const made = (...args: ReadonlyArray<unknown>): unknown =>
      intercept(member, key, args, () => Reflect.apply(value, batch, args))
    methods.set(key, { of: value, made })
    return made
  }
  return new Proxy(batch, {
    get: (target, key) => {
      if (typeof key !== "string") return Reflect.get(target, key, target)
      if (accessed(key)) return intercept(member, key, undefined, () => Reflect.get(target, key, target))
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === "function" ? method(key, value as (...args: never) => unknown) : value
    },
  })
}

/** Batches and tools as a hook is given them. */
export interface HookInputs<M extends Databases> {
  readonly batches: Batches<M>
  readonly tools: HookTools<M>
}

/** Puts `intercept` between a hook and its batches. `names`: the order in which the hook finds its members. */
export const interceptCalls = <M extends Databases>(
  { batches, tools }: HookInputs<M>,
  intercept: Intercept,
  names: ReadonlyArray<string> = Object.keys(batches),
): HookInputs<M> => {
  const given = Object.freeze(
    Object.fromEntries(names.map((name) => [name, through(name, batches[name] as object, intercept)])),
  ) as Batches<M>
  return { batches: given, tools: sealing(tools, given, batches) }
}

/** Tools that take `given` for `behind`. Sealing anything else is the hook's mistake, and stays one. */
const sealing = <M extends Databases>(tools: HookTools<M>, given: Batches<M>, behind: Batches<M>): HookTools<M> => ({
  signal: tools.signal,
  ...(tools.durableHeight === undefined ? {} : { durableHeight: tools.durableHeight }),
  seal: (batches) => tools.seal(batches === given ? behind : batches),
})
