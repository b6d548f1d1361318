import OrchestryModel
import Testing

struct AppSpecPropertyTests {
    @Test func `no document traps, and every accepted spec keeps its limits`() throws {
        var accepted = 0
        var refused = 0
        for seed in 0..<2_000 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            var document = seed % 2 == 0 ? Fixtures.fullDocument : Fixtures.document
            for _ in 0...Int.random(in: 0...2, using: &random) { document = mutated(document, &random) }
            do {
                let (spec, flat) = try AppSpec.parse(document)
                accepted += 1
                let broken = brokenLimits(spec)
                #expect(broken.isEmpty, "seed \(seed): \(broken) in \(document.jsonText())")
                #expect(try AppSpec.parse(flat: flat, name: spec.name) == spec, "seed \(seed)")
            } catch {
                refused += 1
                #expect(!error.violations.isEmpty)
                #expect(error.violations.count <= 101)
            }
        }
        // Both must happen often, or the test would show nothing.
        #expect(accepted > 100)
        #expect(refused > 500)
    }

    @Test func `values that have nothing to do with a spec`() {
        var random = SeededGenerator(seed: 99)
        for _ in 0..<2_000 {
            let value = RandomJSON.value(&random, depth: 5)
            #expect(throws: ValidationError.self) { try AppSpec.parse(value) }
            _ = try? ScalingPolicy.parse(value, merging: RandomJSON.value(&random, depth: 3))
            _ = try? SimulatedMetrics.parse(value)
            _ = try? OrchestryModel.Operation.parseReplicas(value)
        }
    }

    /// One node somewhere in the document replaced, removed or added.
    private func mutated(_ value: JSONValue, _ random: inout SeededGenerator) -> JSONValue {
        switch value {
        case .object(var members) where !members.isEmpty:
            let keys = members.keys.sorted()
            let key = keys[Int.random(in: 0..<keys.count, using: &random)]
            switch Int.random(in: 0...9, using: &random) {
            case 0: members[key] = nil
            case 1: members[key] = RandomJSON.value(&random, depth: 2)
            case 2:
                members[RandomJSON.strings.randomElement(using: &random) ?? ""] = RandomJSON.value(&random, depth: 2)
            default: members[key] = mutated(members[key] ?? .null, &random)
            }
            return .object(members)
        case .array(var elements) where !elements.isEmpty:
            let index = Int.random(in: 0..<elements.count, using: &random)
            switch Int.random(in: 0...4, using: &random) {
            case 0: elements.remove(at: index)
            case 1: elements.append(RandomJSON.value(&random, depth: 2))
            case 2: elements.append(elements[index])
            default: elements[index] = mutated(elements[index], &random)
            }
            return .array(elements)
        case .int(let number) where Bool.random(using: &random):
            return .int(number &+ Int64.random(in: -3...30, using: &random))
        default:
            return RandomJSON.value(&random, depth: 1)
        }
    }

    /// The limits of `AppSpec` and `ScalingPolicy`, from their documentation and not from the reader's code.
    private func brokenLimits(_ spec: AppSpec) -> [String] {
        var broken: [String] = []
        func check(_ condition: Bool, _ name: String) { if !condition { broken.append(name) } }
        check(AppName.isValid(spec.name.rawValue), "name")
        check(!spec.image.isEmpty && !spec.image.contains(" "), "image")
        check(spec.kind == .worker || !spec.ports.isEmpty, "ports")
        check(spec.ports.allSatisfy { (1...65_535).contains($0.containerPort) }, "containerPort")
        check(Set(spec.ports.map(\.containerPort)).count == spec.ports.count, "ports twice")
        check((10...16_000).contains(spec.resources.cpuMillicores), "cpu")
        check((6_291_456...68_719_476_736).contains(spec.resources.memoryBytes), "memory")
        check((16...32_768).contains(spec.resources.pidsLimit), "pids")
        check(spec.security.allowRoot || spec.security.user.map { !["0", "root"].contains($0) } ?? true, "root")
        check(spec.kind != .http || !spec.routing.hosts.isEmpty, "hosts")
        check(spec.routing.hosts.allSatisfy { $0 == $0.lowercased() && !$0.contains(":") }, "host")
        check(spec.routing.pathPrefix.hasPrefix("/"), "pathPrefix")
        check(spec.routing.listenPort.map { (1...65_535).contains($0) } ?? true, "listenPort")
        check(spec.routing.maxBodyBytes >= 0, "maxBodyBytes")
        check((1...3_600).contains(spec.routing.readTimeoutSeconds), "readTimeout")
        check((0...3_600).contains(spec.termination.drainSeconds), "drain")
        check((0...600).contains(spec.termination.gracePeriodSeconds), "grace")
        check(!spec.rollout.surge.isZero || !spec.rollout.unavailable.isZero, "rollout")
        for amount in [spec.rollout.surge, spec.rollout.unavailable] {
            check((0...100).contains(amount.resolved(of: 100, roundingUp: true)), "surge")
        }
        check(spec.rollout.minHealthySeconds < spec.rollout.progressDeadlineSeconds, "minHealthy")
        check((spec.rollout.canary != nil) == (spec.rollout.strategy == .canary), "canary")
        check((1...86_400).contains(spec.rollout.progressDeadlineSeconds), "progressDeadline")
        check(spec.environment.allSatisfy { !$0.name.isEmpty && !$0.name.contains("=") }, "environment")
        check(Set(spec.environment.map(\.name)).count == spec.environment.count, "environment twice")
        let health = spec.health
        check(health.kind != .none || spec.ports.isEmpty, "health kind")
        check(health.kind == .none || health.port != nil || spec.primaryPort != nil, "health port")
        check(health.port.map { (1...65_535).contains($0) } ?? true, "health port range")
        check(health.path.hasPrefix("/") && !health.path.contains(" "), "health path")
        check(["GET", "POST"].contains(health.method), "health method")
        check(health.expectedStatuses.allSatisfy { (100...599).contains($0) }, "health statuses")
        check((0...3_600).contains(health.initialDelaySeconds), "initialDelay")
        check((0.1...3_600).contains(health.periodSeconds), "period")
        check((0.05...300).contains(health.timeoutSeconds), "timeout")
        check((1...100).contains(health.failureThreshold) && (1...100).contains(health.successThreshold), "thresholds")
        return broken + brokenLimits(spec.scaling)
    }

    private func brokenLimits(_ policy: ScalingPolicy) -> [String] {
        var broken: [String] = []
        func check(_ condition: Bool, _ name: String) { if !condition { broken.append(name) } }
        check((0...1_000).contains(policy.minReplicas), "minReplicas")
        check((policy.scaleToZero != nil) == (policy.minReplicas == 0), "scaleToZero")
        check((policy.minReplicas...1_000).contains(policy.maxReplicas), "maxReplicas")
        let targets = [
            policy.targetRPS, policy.maxP95LatencyMilliseconds, policy.maxConnections, policy.maxCPUPercent,
            policy.maxMemoryPercent,
        ].compactMap { $0 }
        check(targets.allSatisfy { $0 > 0 && $0.isFinite }, "targets")
        check(policy.mode == .manual || !targets.isEmpty, "no target in auto mode")
        check(policy.maxCPUPercent.map { $0 <= 100 } ?? true, "cpu target")
        check((1...100).contains(policy.scaleOutThresholdPercent), "scaleOutThreshold")
        check((0...policy.scaleOutThresholdPercent).contains(policy.scaleInThresholdPercent), "scaleInThreshold")
        check((2...3_600).contains(policy.windowSeconds), "window")
        check((0...86_400).contains(policy.cooldownSeconds), "cooldown")
        check((0...3_600).contains(policy.stabilizationWindowSeconds), "stabilization")
        check(
            [policy.maxScaleOutStep, policy.maxScaleInStep].allSatisfy { $0.map { (1...1_000).contains($0) } ?? true },
            "steps")
        check((0...0.5).contains(policy.toleranceOut) && (0...0.5).contains(policy.toleranceIn), "tolerance")
        check((0...3_600).contains(policy.warmupSeconds), "warmup")
        let rates = policy.scaleOutPolicies + policy.scaleInPolicies
        check(rates.allSatisfy { (1...1_000).contains($0.amount) && (1...3_600).contains($0.periodSeconds) }, "rates")
        return broken
    }
}
