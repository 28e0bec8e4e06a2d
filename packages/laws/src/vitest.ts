/**
 * Laws as vitest tests.
 *
 * A law that needs a power its subject does not have is no test at all: it is neither passed nor skipped.
 */
import { Effect } from "effect"
import { describe, test } from "vitest"
import { APPLICATION_LAWS, type ApplicationSubject } from "./application/index.ts"
import { ENGINE_LAWS, type EngineSubject } from "./consensus/index.ts"
import { EXECUTOR_LAWS, type ExecutorSubject } from "./executor/index.ts"
import { applies, type Law, type Subject } from "./law.ts"
import { SYNC_LAWS, type SyncSubject } from "./state-sync/index.ts"
import { STORAGE_LAWS, type StorageSubject } from "./storage/index.ts"
import { TRANSPORT_LAWS, type TransportSubject } from "./transport/index.ts"

/** Runs the effect of a law; rejects when it fails. */
export type RunLaw = (check: Effect.Effect<void, unknown>) => Promise<unknown>

const register = <World, Power extends string>(
  name: string,
  laws: ReadonlyArray<Law<World, Power>>,
  subject: Subject<World, Power>,
  run: RunLaw,
): void => {
  describe(name, () => {
    for (const law of laws) if (applies(law, subject)) test(law.name, () => run(law.check(subject)))
  })
}

/** Registers the laws of the storage port for an implementation. */
export const storageLaws = (name: string, subject: StorageSubject, run: RunLaw = Effect.runPromise): void =>
  register(name, STORAGE_LAWS, subject, run)

/** Registers the laws of applications for one application. */
export const applicationLaws = (name: string, subject: ApplicationSubject, run: RunLaw = Effect.runPromise): void =>
  register(name, APPLICATION_LAWS, subject, run)

/** Registers the laws of the transport port for an implementation. */
export const transportLaws = (name: string, subject: TransportSubject, run: RunLaw = Effect.runPromise): void =>
  register(name, TRANSPORT_LAWS, subject, run)

/** Registers the laws of the executor port for an implementation. */
export const executorLaws = (name: string, subject: ExecutorSubject, run: RunLaw = Effect.runPromise): void =>
  register(name, EXECUTOR_LAWS, subject, run)

/** Registers the laws of engines for a consensus engine with its marshal. */
export const engineLaws = (name: string, subject: EngineSubject, run: RunLaw = Effect.runPromise): void =>
  register(name, ENGINE_LAWS, subject, run)

/** Registers the laws of the state-sync port for an implementation. */
export const syncLaws = (name: string, subject: SyncSubject, run: RunLaw = Effect.runPromise): void =>
  register(name, SYNC_LAWS, subject, run)
