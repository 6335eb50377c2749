// Rounding as the published programs have it: Python, NumPy, PyTorch and OpenCV round halves to the even neighbour.

export function roundHalfEven(value: number): number {
  const below = Math.floor(value)
  const rest = value - below
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1
}
