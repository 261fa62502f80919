/**
 * What work comes to, or what `onLate` returns or throws where it takes longer than `limitMs` (0 or less: at once). The
 * work itself is not ended by it; how it fails after that is of no interest any more.
 */
export async function within<T, L = never>(limitMs: number, work: Promise<T> | T, onLate: () => L): Promise<T | L> {
  let timer: NodeJS.Timeout | undefined;
  const isLate = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.max(limitMs, 0));
  });
  try {
    return await Promise.race([work, isLate.then(onLate)]);
  } finally {
    clearTimeout(timer);
  }
}
