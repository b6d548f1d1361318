extension AppSpec {
    /// How an app moves to a new revision.
    public struct RolloutPolicy: Hashable, Sendable, Codable {
        /// A number of instances, or a share of those wanted.
        public enum Amount: Hashable, Sendable, ExpressibleByIntegerLiteral {
            /// 0…100.
            case count(Int)
            /// 0…100 percent.
            case percent(Int)
            public init(integerLiteral value: Int) { self = .count(value) }
            public var isZero: Bool { self == .count(0) || self == .percent(0) }
            /// - Parameter roundingUp: whether part of an instance counts as one or as none.
            public func resolved(of wanted: Int, roundingUp: Bool) -> Int {
                switch self {
                case .count(let count): count
                case .percent(let percent): (wanted * percent + (roundingUp ? 99 : 0)) / 100
                }
            }
        }

        public enum Strategy: String, Hashable, Sendable, Codable {
            case rolling
            /// The first new instances get a share of the traffic and are compared with the old ones.
            case canary
        }

        /// What a canary is measured by.
        public struct Canary: Hashable, Sendable, Codable {
            /// Share of the app's requests that go to the new instances, 1…50.
            public var weightPercent: Int
            /// How long it is watched once it is ready, 1…86,400 s.
            public var intervalSeconds: Int
            /// Requests to the new instances without which nothing is concluded, 0…1,000,000.
            public var minRequests: Int
            /// By how many points its share of failed requests (5xx or no answer) may exceed the old revision's, 0…100.
            public var maxErrorRatePct: Double
            /// How many times the old revision's p95 latency its own may be, 1…100; nil: latency is not compared.
            public var maxP95Factor: Double?
            public init(
                weightPercent: Int = 10, intervalSeconds: Int = 60, minRequests: Int = 100, maxErrorRatePct: Double = 1,
                maxP95Factor: Double? = nil
            ) {
                self.weightPercent = weightPercent
                self.intervalSeconds = intervalSeconds
                self.minRequests = minRequests
                self.maxErrorRatePct = maxErrorRatePct
                self.maxP95Factor = maxP95Factor
            }
        }

        /// A command that is run once, in a container of the new revision, before its rollout begins. When it does not
        /// end with 0 in time, the rollout has failed.
        public struct Release: Hashable, Sendable, Codable {
            /// Program and arguments, at least one.
            public var command: [String]
            /// From the start of the rollout, 1…86,400 s.
            public var timeoutSeconds: Int
            public init(command: [String], timeoutSeconds: Int = 300) {
                self.command = command
                self.timeoutSeconds = timeoutSeconds
            }
        }

        /// Instances above the wanted number during a rollout; parts of an instance count as one.
        public var surge: Amount
        /// Ready instances that may be missing during a rollout; parts of an instance count as none. Surge and
        /// unavailable are not both 0.
        public var unavailable: Amount
        /// A new instance counts once it has been ready for this long without a break, 0…3,600 s.
        public var minHealthySeconds: Int
        /// A new revision that makes no progress for this long is rolled back, 1…86,400 s; above `minHealthySeconds`.
        public var progressDeadlineSeconds: Int
        public var strategy: Strategy
        /// Set with the strategy `canary`.
        public var canary: Canary?
        /// nil: there is nothing to run.
        public var release: Release?

        public init(
            surge: Amount = 1, unavailable: Amount = 0, minHealthySeconds: Int = 0, progressDeadlineSeconds: Int = 120,
            strategy: Strategy = .rolling, canary: Canary? = nil, release: Release? = nil
        ) {
            self.surge = surge
            self.unavailable = unavailable
            self.minHealthySeconds = minHealthySeconds
            self.progressDeadlineSeconds = progressDeadlineSeconds
            self.strategy = strategy
            self.canary = canary
            self.release = release
        }

        private enum CodingKeys: String, CodingKey {
            case surge, unavailable, minHealthySeconds, progressDeadlineSeconds, strategy, canary, release
        }

        /// Members that came later than the first specs in a database may be missing.
        public init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            self.init(
                surge: try container.decode(Amount.self, forKey: .surge),
                unavailable: try container.decode(Amount.self, forKey: .unavailable),
                minHealthySeconds: try container.decodeIfPresent(Int.self, forKey: .minHealthySeconds) ?? 0,
                progressDeadlineSeconds: try container.decode(Int.self, forKey: .progressDeadlineSeconds),
                strategy: try container.decodeIfPresent(Strategy.self, forKey: .strategy) ?? .rolling,
                canary: try container.decodeIfPresent(Canary.self, forKey: .canary),
                release: try container.decodeIfPresent(Release.self, forKey: .release))
        }

        /// Defaults of what came later are left out, so that equal specs are equal texts in every release.
        public func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(surge, forKey: .surge)
            try container.encode(unavailable, forKey: .unavailable)
            try container.encode(progressDeadlineSeconds, forKey: .progressDeadlineSeconds)
            if minHealthySeconds != 0 { try container.encode(minHealthySeconds, forKey: .minHealthySeconds) }
            if strategy != .rolling { try container.encode(strategy, forKey: .strategy) }
            try container.encodeIfPresent(canary, forKey: .canary)
            try container.encodeIfPresent(release, forKey: .release)
        }
    }
}

/// A whole number, or a text such as `"25%"`.
extension AppSpec.RolloutPolicy.Amount: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let count = try? container.decode(Int.self) {  // Not a number: the text it must be then is read below.
            self = .count(count)
            return
        }
        let text = try container.decode(String.self)
        guard let amount = Self(percentText: text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a share: '\(text)'")
        }
        self = amount
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .count(let count): try container.encode(count)
        case .percent(let percent): try container.encode("\(percent)%")
        }
    }

    /// - Returns: nil unless `text` is `0%`…`100%`.
    init?(percentText text: String) {
        guard text.hasSuffix("%"), let percent = Int(text.dropLast()), (0...100).contains(percent) else { return nil }
        self = .percent(percent)
    }
}
