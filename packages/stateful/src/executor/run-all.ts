/** Running what is owed to several others, so that none of them keeps it from the rest. */

/** Runs every task, whatever the others throw; then throws what the first of them threw. */
export const runAll = (tasks: ReadonlyArray<() => void>): void => {
  const thrown: unknown[] = []
  for (const task of tasks) {
    try {
      task()
    } catch (error) {
      thrown.push(error)
    }
  }
  if (thrown.length > 0) throw thrown[0]
}
