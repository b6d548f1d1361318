/// One second of one app on one node: what that node's proxy counted and what its instances used.
public struct Sample: Hashable, Sendable {
    public var app: AppName
    public var node: NodeID
    /// The wall-clock second the sample covers, seconds since 1970, by the node's clock.
    public var second: Int64
    /// Real length of the interval the counters cover, seconds (about 1). Rates divide by it.
    public var interval: Double
    /// Requests finished in the interval, seen by this node's proxy.
    public var requests: UInt64
    /// By status class 1xx, 2xx, 3xx, 4xx, 5xx.
    public var statusClasses: [UInt64]
    /// Sum of request times in the interval, seconds; divided by `interval` it is the mean concurrency.
    public var requestSeconds: Double
    /// Requests in flight through this node's proxy at the end of the interval.
    public var inFlight: UInt64
    public var latency: LatencyHistogram
    /// The app's instances that *run* on this node; and any instance this node's proxy sent requests to.
    public var instances: [InstanceSample]

    public init(
        app: AppName, node: NodeID, second: Int64, interval: Double = 1, requests: UInt64 = 0,
        statusClasses: [UInt64] = [0, 0, 0, 0, 0], requestSeconds: Double = 0, inFlight: UInt64 = 0,
        latency: LatencyHistogram = LatencyHistogram(), instances: [InstanceSample] = []
    ) {
        self.app = app
        self.node = node
        self.second = second
        self.interval = interval
        self.requests = requests
        self.statusClasses = statusClasses
        self.requestSeconds = requestSeconds
        self.inFlight = inFlight
        self.latency = latency
        self.instances = instances
    }
}

/// One instance's part of a sample.
public struct InstanceSample: Hashable, Sendable {
    public var instance: InstanceID
    /// Percent of the instance's CPU limit over the interval; nil: not measured here (or not yet two readings).
    public var cpuPercent: Double?
    /// Percent of the instance's memory limit, page cache that can be dropped left out; nil: not measured here.
    public var memoryPercent: Double?
    /// Requests this node's proxy finished with it.
    public var requests: UInt64
    /// Of these, status 500…599 or no answer.
    public var errors: UInt64
    /// Requests in flight from this node's proxy to it.
    public var inFlight: UInt64
    /// How long those requests took, in buckets of 16 of the histogram's own: a percentile is within 10%. nil: not
    /// measured, as always but while the app's instances have different weights.
    public var latency: LatencyHistogram?
    public init(
        instance: InstanceID, cpuPercent: Double? = nil, memoryPercent: Double? = nil, requests: UInt64 = 0,
        errors: UInt64 = 0, inFlight: UInt64 = 0, latency: LatencyHistogram? = nil
    ) {
        self.instance = instance
        self.cpuPercent = cpuPercent
        self.memoryPercent = memoryPercent
        self.requests = requests
        self.errors = errors
        self.inFlight = inFlight
        self.latency = latency
    }
}
