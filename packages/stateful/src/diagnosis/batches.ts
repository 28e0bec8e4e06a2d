/**
 * Batches whose calls pass through somebody.
 *
 *   hook --> batches.counts.put(k, v) --> intercept("counts", "put", [k, v], call) --> the batch
 *
 * Terms: a *stand-in* is what a hook is given in the place of a batch.
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

const BEHIND: unique symbol = Symbol("behind")

interface StandIn {
  readonly [BEHIND]: { readonly batch: object; readonly member: string; readonly intercept: Intercept }
}

type Method = (...args: ReadonlyArray<unknown>) => unknown

/** What a stand-in has in the place of a property of its batch: reading one that runs code is a call like any other. */
const passing = (key: string, { get, value }: PropertyDescriptor): PropertyDescriptor => {
  if (get !== undefined) {
    return {
      get(this: StandIn) {
        const { batch, member, intercept } = this[BEHIND]
        return intercept(member, key, undefined, () => Reflect.apply(get, batch, []))
      },
    }
  }
  if (typeof value !== "function") return { value }
  return {
    value(this: StandIn, ...args: ReadonlyArray<unknown>) {
      const { batch, member, intercept } = this[BEHIND]
      return intercept(member, key, args, () => Reflect.apply(value as Method, batch, args))
    },
  }
}

/** What a batch has beside its class may be another thing each time it is asked for. */
const beside: ProxyHandler<object> = {
  get: (_, key, standIn: StandIn) => {
    const { batch } = standIn[BEHIND]
    if (typeof key !== "string") return Reflect.get(batch, key, batch)
    const found = Object.getOwnPropertyDescriptor(batch, key) ?? { value: Reflect.get(batch, key, batch) }
    const { get, value } = passing(key, found)
    return get === undefined ? value : Reflect.apply(get, standIn, [])
  },
}

const prototypes = new WeakMap<object, object>()

/** The prototype of stand-ins for batches of one class: a call finds its method as fast as one on the batch. */
const prototypeFor = (of: object): object => {
  const known = prototypes.get(of)
  if (known !== undefined) return known
  const made = Object.create(new Proxy(Object.create(of) as object, beside)) as object
  for (let at = of; at !== Object.prototype; at = Object.getPrototypeOf(at) as object) {
    for (const [key, found] of Object.entries(Object.getOwnPropertyDescriptors(at))) {
      if (!Object.hasOwn(made, key)) Object.defineProperty(made, key, passing(key, found))
    }
  }
  prototypes.set(of, made)
  return made
}

const through = (member: string, batch: object, intercept: Intercept): object => {
  const standIn = Object.create(prototypeFor(Object.getPrototypeOf(batch) as object)) as { [BEHIND]: object }
  standIn[BEHIND] = { batch, member, intercept }
  // What it has of its own comes before what its class has under the same name.
  for (const key of Object.getOwnPropertyNames(batch)) {
    if (key in standIn) Object.defineProperty(standIn, key, passing(key, Object.getOwnPropertyDescriptor(batch, key)!))
  }
  return standIn
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
