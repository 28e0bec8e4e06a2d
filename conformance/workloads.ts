/**
 * Every workload that is built, by the name that the published rows give it.
 *
 * One line per package that reproduces rows. A row whose workload is not here counts as not built.
 */
import { keyedWorkloads } from "./keyed.ts"
import { merkleWorkloads } from "./merkle.ts"
import type { Workloads } from "./rows.ts"
import { unkeyedWorkloads } from "./unkeyed.ts"

/** The registry that `run.ts` and the tests judge by. */
export const workloads: Workloads = {
  ...merkleWorkloads,
  ...keyedWorkloads,
  ...unkeyedWorkloads,
}
