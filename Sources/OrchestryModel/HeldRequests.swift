/// What one node's proxy says of the requests that wait in it for an app's first instance.
public struct HeldRequests: Hashable, Sendable {
    public struct Waiting: Hashable, Sendable {
        public var app: AppName
        /// Above 0.
        public var requests: UInt64
        public init(app: AppName, requests: UInt64) {
            self.app = app
            self.requests = requests
        }
    }
    /// False: requests of an app without an instance are refused there, and no app may go to zero.
    public var canHold: Bool
    /// Sorted by app; apps for which none wait are not in it.
    public var waiting: [Waiting]
    public init(canHold: Bool, waiting: [Waiting] = []) {
        self.canHold = canHold
        self.waiting = waiting
    }
}
