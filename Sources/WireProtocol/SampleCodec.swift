import NIOCore
import OrchestryModel

/// A `Sample` as bytes: on the bulk channel and in the metrics cache. Layout 1; `proto-spec/messages.md`, "Sample".
public enum SampleCodec {
    /// The first byte. A new layout gets a new number, so that caches written by an earlier release stay readable.
    static let layout: UInt8 = 1
    /// The fewest bytes a sample takes.
    static let minimumBytes = 1 + 2 + 2 + 1 + 8 + 1 + WireLimits.statusClasses + 8 + 1 + 1 + 1
    private static let hasCPU: UInt8 = 1
    private static let hasMemory: UInt8 = 2
    private static let hasLatency: UInt8 = 4

    /// Appends a sample, about 100 bytes plus 2–3 for each histogram bucket and 20–60 for each instance.
    /// Never fails: counters above 2³², numbers outside their range and all but the first 4,096 instances are cut to
    /// what the layout can hold.
    public static func encode(_ sample: Sample, into buffer: inout ByteBuffer) {
        buffer.writeInteger(layout)
        buffer.writeCutText(sample.app.rawValue, limit: WireLimits.identifierBytes)
        buffer.writeCutText(sample.node.rawValue, limit: WireLimits.identifierBytes)
        buffer.writeVarint(min(UInt64(max(0, sample.second)), WireLimits.wallMilliseconds / 1000))
        buffer.writeDouble(sample.interval, in: WireLimits.intervalSeconds)
        buffer.writeCounter(sample.requests)
        for index in 0..<WireLimits.statusClasses {
            buffer.writeCounter(index < sample.statusClasses.count ? sample.statusClasses[index] : 0)
        }
        buffer.writeDouble(sample.requestSeconds, in: WireLimits.requestSeconds)
        buffer.writeCounter(sample.inFlight)
        encode(sample.latency, into: &buffer)
        let instances = sample.instances.prefix(WireLimits.instancesPerSample)
        buffer.writeVarint(UInt64(instances.count))
        for instance in instances { encode(instance, into: &buffer) }
    }

    /// Reads one sample and leaves what follows it.
    /// - Throws: a `WireError`; the reader index is then somewhere inside the sample.
    public static func decode(from buffer: inout ByteBuffer) throws(WireError) -> Sample {
        guard try buffer.readByte() == layout else { throw .badValue(field: "sample.layout") }
        let app: AppName = try buffer.readIdentifier("sample.app")
        let node: NodeID = try buffer.readIdentifier("sample.node")
        let second = try buffer.readVarint("sample.second", in: 0...(WireLimits.wallMilliseconds / 1000))
        var sample = Sample(app: app, node: node, second: Int64(second))
        sample.interval = try buffer.readDouble("sample.interval", in: WireLimits.intervalSeconds)
        sample.requests = try buffer.readCounter("sample.requests")
        for index in 0..<WireLimits.statusClasses {
            sample.statusClasses[index] = try buffer.readCounter("sample.statusClasses")
        }
        sample.requestSeconds = try buffer.readDouble("sample.requestSeconds", in: WireLimits.requestSeconds)
        sample.inFlight = try buffer.readCounter("sample.inFlight")
        sample.latency = try decodeHistogram(from: &buffer)
        let count = try buffer.readCount("sample.instances", limit: WireLimits.instancesPerSample, elementBytes: 6)
        sample.instances.reserveCapacity(count)
        for _ in 0..<count { sample.instances.append(try decodeInstance(from: &buffer)) }
        return sample
    }

    /// Number of buckets, then for each the distance from the one before (from 0 for the first) and its count.
    private static func encode(_ histogram: LatencyHistogram, into buffer: inout ByteBuffer) {
        buffer.writeVarint(UInt64(histogram.buckets.count))
        var previous = 0
        for bucket in histogram.buckets {
            buffer.writeVarint(UInt64(bucket.index - previous))
            buffer.writeCounter(bucket.count)
            previous = bucket.index
        }
    }

    private static func decodeHistogram(from buffer: inout ByteBuffer) throws(WireError) -> LatencyHistogram {
        let field = "sample.latency"
        let count = try buffer.readCount(field, limit: LatencyHistogram.bucketCount, elementBytes: 2)
        guard count > 0 else { return LatencyHistogram() }
        var buckets: [LatencyHistogram.Bucket] = []
        buckets.reserveCapacity(count)
        let last = UInt64(LatencyHistogram.bucketCount - 1)
        var index: UInt64 = 0
        for position in 0..<count {
            let distance = try buffer.readVarint(field, in: (position == 0 ? 0 : 1)...last)
            index += distance
            guard index <= last else { throw .badValue(field: field) }
            let hits = try buffer.readVarint(field, in: 1...WireLimits.counter)
            buckets.append(LatencyHistogram.Bucket(index: Int(index), count: hits))
        }
        return LatencyHistogram(buckets: buckets)
    }

    private static func encode(_ instance: InstanceSample, into buffer: inout ByteBuffer) {
        buffer.writeCutText(instance.instance.rawValue, limit: WireLimits.instanceBytes)
        // Not a number means "not measured", which the reader knows how to treat.
        let cpu = instance.cpuPercent.flatMap { $0.isNaN ? nil : $0 }
        let memory = instance.memoryPercent.flatMap { $0.isNaN ? nil : $0 }
        let latencyFlag = instance.latency == nil ? 0 : hasLatency
        buffer.writeInteger((cpu == nil ? 0 : hasCPU) | (memory == nil ? 0 : hasMemory) | latencyFlag)
        if let cpu { buffer.writeDouble(cpu, in: WireLimits.percent) }
        if let memory { buffer.writeDouble(memory, in: WireLimits.percent) }
        buffer.writeCounter(instance.requests)
        buffer.writeCounter(instance.errors)
        buffer.writeCounter(instance.inFlight)
        if let latency = instance.latency { encode(latency, into: &buffer) }
    }

    private static func decodeInstance(from buffer: inout ByteBuffer) throws(WireError) -> InstanceSample {
        let id: InstanceID = try buffer.readIdentifier("instance.id", limit: WireLimits.instanceBytes)
        let flags = try buffer.readFlags("instance.flags", mask: hasCPU | hasMemory | hasLatency)
        var instance = InstanceSample(instance: id)
        if flags & hasCPU != 0 { instance.cpuPercent = try buffer.readDouble("instance.cpu", in: WireLimits.percent) }
        if flags & hasMemory != 0 {
            instance.memoryPercent = try buffer.readDouble("instance.memory", in: WireLimits.percent)
        }
        instance.requests = try buffer.readCounter("instance.requests")
        instance.errors = try buffer.readCounter("instance.errors")
        instance.inFlight = try buffer.readCounter("instance.inFlight")
        if flags & hasLatency != 0 { instance.latency = try decodeHistogram(from: &buffer) }
        return instance
    }
}
