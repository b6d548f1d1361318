/// What one node's proxy saw of an app in one second, in whole millionths so that sums are exact.
package struct NodeLoad: AdditiveArithmetic, Sendable {
    /// Requests per second × 10⁶.
    package var microRate: Int64 = 0
    /// Mean concurrency (request time ÷ interval) × 10⁶.
    package var microConcurrency: Int64 = 0
    /// In flight at the end of the second.
    package var inFlight: Int64 = 0
    /// 1 for a second that was reported; a sum tells how many were.
    package var seconds: Int64 = 0

    package init(microRate: Int64 = 0, microConcurrency: Int64 = 0, inFlight: Int64 = 0, seconds: Int64 = 0) {
        self.microRate = microRate
        self.microConcurrency = microConcurrency
        self.inFlight = inFlight
        self.seconds = seconds
    }

    package static let zero = NodeLoad()
    package static func + (left: NodeLoad, right: NodeLoad) -> NodeLoad {
        NodeLoad(
            microRate: left.microRate + right.microRate,
            microConcurrency: left.microConcurrency + right.microConcurrency,
            inFlight: left.inFlight + right.inFlight, seconds: left.seconds + right.seconds)
    }
    package static func - (left: NodeLoad, right: NodeLoad) -> NodeLoad {
        NodeLoad(
            microRate: left.microRate - right.microRate,
            microConcurrency: left.microConcurrency - right.microConcurrency,
            inFlight: left.inFlight - right.inFlight, seconds: left.seconds - right.seconds)
    }
}

/// What one instance used in one second, in millionths of a percent.
struct InstanceUse: AdditiveArithmetic, Sendable {
    var microCPU: Int64 = 0
    /// 1 when the CPU was measured in this second.
    var cpuSeconds: Int64 = 0
    var microMemory: Int64 = 0
    var memorySeconds: Int64 = 0

    static let zero = InstanceUse()
    static func + (left: InstanceUse, right: InstanceUse) -> InstanceUse {
        InstanceUse(
            microCPU: left.microCPU + right.microCPU, cpuSeconds: left.cpuSeconds + right.cpuSeconds,
            microMemory: left.microMemory + right.microMemory,
            memorySeconds: left.memorySeconds + right.memorySeconds)
    }
    static func - (left: InstanceUse, right: InstanceUse) -> InstanceUse {
        InstanceUse(
            microCPU: left.microCPU - right.microCPU, cpuSeconds: left.cpuSeconds - right.cpuSeconds,
            microMemory: left.microMemory - right.microMemory,
            memorySeconds: left.memorySeconds - right.memorySeconds)
    }
}

/// A reading in millionths. Negative, infinite and absurd readings are cut to 0…10⁹, so that a window of 3,600 of them
/// fits 64 bits.
func micro(_ value: Double) -> Int64 {
    guard value > 0 else { return 0 }
    return Int64((min(value, 1e9) * 1e6).rounded())
}
