/**
 * What a replay found, for people.
 *
 * Invariant: what is not known is never said to be the same. Executions are counted from 1.
 */
import type {
  AnsweredCall,
  BatchCall,
  Divergence,
  OperationDifference,
  PlainTarget,
  Replayed,
  ReplayedState,
} from "@coppice/stateful/diagnosis"
import { REPLAY_CALLS_SHOWN } from "./limits.ts"

type Lines = ReadonlyArray<string>

const MAKERS = {
  hook: "what the node went by",
  guard: "again, in shuffled surroundings",
  record: "again, recorded",
} as const

const rootOf = (target: PlainTarget | undefined): string => target?.canonical ?? target?.root ?? "none"

const stateLines = ({ members, executions }: Divergence, state: ReplayedState | undefined): Lines =>
  members.flatMap(({ name, parent, header }, at) => [
    `  ${name}`,
    `    parent       ${rootOf(parent)}`,
    `    header       ${rootOf(header)}`,
    ...executions.map(({ of, members: states }, i) => {
      const { target } = states[at]!
      return `    execution ${i + 1}  ${rootOf(target)}  ${target.end - parent.end} operations: ${MAKERS[of]}`
    }),
    ...(state === undefined ? [] : [`    here         ${rootOf(state.targets?.[name])}`]),
  ])

const callWords = (call: BatchCall | undefined): string => {
  if (call === undefined) return "(the end)"
  const { member, method, args } = call
  return `${member}.${method}${args === undefined ? "" : `(${args.map((arg) => JSON.stringify(arg)).join(", ")})`}`
}

const answerWords = ({ returned, thrown }: AnsweredCall): string =>
  thrown === undefined ? JSON.stringify(returned) : `${thrown.name}: ${thrown.message}`

const contextLines = ({ calls }: Divergence, at: number): Lines => {
  const from = Math.max(0, at - REPLAY_CALLS_SHOWN)
  return calls.slice(from, at).map((call, i) => `  ${from + i}  ${callWords(call)}`)
}

const callLines = (bundle: Divergence, { calls, ended: { recorded, replayed } }: Replayed): Lines => {
  const { length } = bundle.calls
  switch (calls?.tag) {
    case "call":
      return [
        `first difference: call ${calls.at} of ${length}`,
        ...contextLines(bundle, calls.at),
        `  ${calls.at}  recorded  ${callWords(calls.recorded)}`,
        `  ${calls.at}  here      ${callWords(calls.replayed)}`,
      ]
    case "answer":
      return [
        `first difference: the answer to call ${calls.at} of ${length}, ${callWords(calls.recorded)}`,
        `  ${calls.at}  recorded  ${answerWords(calls.recorded)}`,
        `  ${calls.at}  here      ${answerWords(calls.replayed)}`,
        "the databases that answered there are not what their own log says: they are damaged",
      ]
    case "cut":
      return [`the record of calls was cut after ${calls.at}; up to there nothing differs`]
    case undefined:
      return recorded === replayed
        ? [`all ${length} calls are the same, and so is the end: ${recorded}`]
        : [`all ${length} calls are the same; then it was ${recorded} there and is ${replayed} here`]
  }
}

const operationLines = (difference: OperationDifference, one: string, other: string): Lines => {
  const { member, location } = difference
  switch (difference.tag) {
    case "operation":
      return [
        `first differing operation of ${member}: location ${location}`,
        `  ${one}  ${JSON.stringify(difference.one)}`,
        `  ${other}  ${JSON.stringify(difference.other)}`,
      ]
    case "cut":
      return [`${member} differs, at location ${location} or above: the operations from there on are not known`]
    case "root":
      return [`${member} has the same operations and other roots: what hashes them is at fault`]
  }
}

const numbers = (equals: ReadonlyArray<number>): string => equals.map((i) => i + 1).join(", ")

const verdictOf = ({ executions }: Divergence, { targets, equals, isHeader, damaged }: ReplayedState): string => {
  const own = `the state here is that of execution ${numbers(equals)}`
  if (damaged.length > 0) {
    return `the state of ${damaged.join(", ")} below the block is not what the parent's header says: the databases were damaged`
  }
  if (targets === undefined) return "it came to no state here"
  if (equals.length === 0) {
    return isHeader
      ? "the state here is what the header says: the code that was recorded is at fault"
      : "the state here is neither what the header says nor that of a recorded execution"
  }
  if (equals.length < executions.length) return `${own} alone: the code that was recorded does not agree with itself`
  if (isHeader) return `${own}, and what the header says`
  return `${own}: this is the code that was recorded; either it is wrong, or the header lies`
}

/** What a replay of a bundle found, line by line. */
export const linesOf = (bundle: Divergence, found: Replayed): Lines => {
  const { state, between } = found
  return [
    `block ${bundle.height} ${bundle.digest} of ${bundle.application} on chain ${bundle.chain}`,
    `  ${bundle.hook} on ${bundle.parent.height} ${bundle.parent.digest}`,
    ...Object.entries(bundle.versions).map(([what, version]) => `  written by ${what} ${version}`),
    ...stateLines(bundle, state),
    ...bundle.omitted.map((what) => `left out: ${what}`),
    ...callLines(bundle, found),
    ...(state?.differences ?? []).flatMap((difference) => operationLines(difference, "recorded", "here    ")),
    ...(between?.differences ?? []).flatMap((difference) =>
      operationLines(difference, "execution 1", `execution ${between!.execution + 1}`),
    ),
    state === undefined
      ? "no roots are computed: the bundle lacks the state below the block"
      : verdictOf(bundle, state),
  ]
}
