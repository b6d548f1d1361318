import OrchestryModel
import Scheduling

/// A seeded generator for tests (xorshift64*): a failing seed can be run again.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }
    mutating func next() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_F491_4F6C_DD1D
    }
    mutating func chance(_ probability: Double) -> Bool { Double.random(in: 0..<1, using: &self) < probability }
}

func node(_ text: String) -> NodeID { NodeID(unchecked: text) }
func app(_ text: String) -> AppName { AppName(unchecked: text) }
func id(_ text: String) -> InstanceID { InstanceID(unchecked: text) }

extension Instant {
    static func seconds(_ seconds: Double) -> Instant { .zero + .seconds(seconds) }
    /// The wall clock of tests runs with the monotonic one.
    var wall: WallTime { WallTime(milliseconds: 1_700_000_000_000 + nanoseconds / 1_000_000) }
}

func makeSpec(
    _ name: String, surge: Int = 1, unavailable: Int = 0, drainSeconds: Int = 5, image: String = "web:1",
    progressDeadlineSeconds: Int = 60, minHealthySeconds: Int = 0, canary: AppSpec.RolloutPolicy.Canary? = nil,
    release: AppSpec.RolloutPolicy.Release? = nil, resources: AppSpec.Resources = .init(),
    health: AppSpec.HealthCheck? = nil
) -> AppSpec {
    AppSpec(
        name: app(name), image: image, ports: [.init(containerPort: 80)], resources: resources,
        termination: .init(drainSeconds: drainSeconds, gracePeriodSeconds: 3),
        rollout: .init(
            surge: .count(surge), unavailable: .count(unavailable), minHealthySeconds: minHealthySeconds,
            progressDeadlineSeconds: progressDeadlineSeconds, strategy: canary == nil ? .rolling : .canary,
            canary: canary, release: release),
        health: health ?? .init(kind: .http, periodSeconds: 1, failureThreshold: 3, successThreshold: 1))
}

func makeApplication(_ spec: AppSpec, revision: Int = 1, replicas: Int, running: Bool = true) -> Application {
    Application(
        spec: spec, document: [:], revision: revision, status: running ? .running : .stopped,
        replicas: running ? replicas : 0, createdAt: Instant.zero.wall, updatedAt: Instant.zero.wall)
}
