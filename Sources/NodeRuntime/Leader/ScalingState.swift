import Autoscaling
import OrchestryModel
import Synchronization

/// The autoscaler's windows, warm on every controller whether it leads or not.
final class ScalingState: Sendable {
    private let autoscaler = Mutex(Autoscaler())

    func record(_ samples: [Sample]) {
        autoscaler.withLock { autoscaler in
            for sample in samples { autoscaler.record(sample) }
        }
    }

    func with<Value: Sendable>(_ body: (inout Autoscaler) -> Value) -> Value {
        autoscaler.withLock { body(&$0) }
    }
}
