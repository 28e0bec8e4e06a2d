#!/usr/bin/env node
/**
 * The `coppice` command.
 *
 *   exit status   0 done, or stopped as asked    1 refused or failed    130 interrupted half-way
 *
 * Invariant: a failure ends with one sentence of fact and one of advice on standard error, and never a stack trace for
 * what a person can settle. Logs go to standard error.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Cause, Effect, Exit, References, Runtime } from "effect"
import { CliError, Command } from "effect/cli"
import { devnet } from "./commands/devnet.ts"
import { inspect } from "./commands/inspect.ts"
import { replay } from "./commands/replay.ts"
import { simulate } from "./commands/simulate.ts"
import { torture } from "./commands/torture.ts"
import { transfer } from "./commands/transfer.ts"
import { explainFailure } from "./explain.ts"
import { endWithReader } from "./signals.ts"

const coppice = Command.make("coppice").pipe(
  Command.withDescription("Replicated state machines with proven state"),
  Command.withSubcommands([devnet, inspect, replay, transfer, simulate, torture]),
)

const say = (exit: Exit.Exit<unknown, unknown>): number => {
  if (Exit.isSuccess(exit)) return 0
  if (Cause.hasInterruptsOnly(exit.cause)) return 130
  const error = Cause.squash(exit.cause)
  if (CliError.isCliError(error)) return 1
  const explained = explainFailure(error)
  if (explained === undefined) console.error(Cause.pretty(exit.cause))
  else console.error(`coppice: ${explained.what}.\n         ${explained.advice}`)
  return 1
}

const main = Command.run(coppice, { version: "0.0.0" }).pipe(
  Effect.provide(NodeServices.layer),
  Effect.provideService(References.MinimumLogLevel, "Warn"),
  Effect.provideService(References.LogToStderr, true),
)

endWithReader()

const run = Runtime.makeRunMain(({ fiber }) => fiber.addObserver((exit) => process.exit(say(exit))))

run(main, { disableErrorReporting: true })
