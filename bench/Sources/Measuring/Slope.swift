/// A straight line through points: by how much something grows.
package struct Slope: Hashable, Sendable {
    /// Per unit of x.
    package var perUnit: Double
    /// Of the line at x = 0.
    package var intercept: Double
    /// The standard error of `perUnit`: a slope within about twice of it is not told from none.
    package var standardError: Double

    /// Least squares.
    /// - Returns: nil for fewer than three points, or when all have the same x.
    package init?(_ points: [(x: Double, y: Double)]) {
        guard points.count >= 3 else { return nil }
        let n = Double(points.count)
        let meanX = points.reduce(0) { $0 + $1.x } / n
        let meanY = points.reduce(0) { $0 + $1.y } / n
        let spread = points.reduce(0) { $0 + ($1.x - meanX) * ($1.x - meanX) }
        guard spread > 0 else { return nil }
        let slope = points.reduce(0) { $0 + ($1.x - meanX) * ($1.y - meanY) } / spread
        let intercept = meanY - slope * meanX
        let rest = points.reduce(0) { sum, point in
            let miss = point.y - intercept - slope * point.x
            return sum + miss * miss
        }
        perUnit = slope
        self.intercept = intercept
        standardError = (rest / (n - 2) / spread).squareRoot()
    }
}
