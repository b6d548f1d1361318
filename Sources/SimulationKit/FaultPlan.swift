import Leadership
import OrchestryModel

/// Which faults one run sees, how hard and how often. Each run gets some kinds only, by chance or by theme ("swarm testing", Groce and others,
/// ISSTA 2012): with all kinds at once, the calm that some bugs need never comes.
struct FaultPlan: Sendable {
    enum Kind: String, CaseIterable, Sendable {
        case loss, delay, duplicates, isolation, links, redraw, crash, pause, store, storeSlow, rates, handover,
            siege, usurpation, promotion
    }

    private let kinds: [Kind]
    /// Mean nanoseconds between two changes.
    private let interval: Int64
    private var random: SplitMix64
    private var promotedAt = Int64.min / 2

    /// For people: what may happen and how often.
    var summary: String {
        "\(kinds.map(\.rawValue).joined(separator: ", ")); changes every \(Double(interval) / 1e9) s on average"
    }

    init(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let themes: [[Kind]] = [
            [.siege, .usurpation, .storeSlow], [.siege, .usurpation, .store, .redraw],
            [.crash, .redraw, .handover], [.redraw, .delay, .isolation, .usurpation],
            [.delay, .usurpation, .crash, .isolation],
            [.promotion, .usurpation, .isolation, .store], [.promotion, .siege, .crash, .storeSlow, .pause],
        ]
        var kinds = themes[Int(random.next(below: Int64(themes.count)))]
        if random.next(below: 2) == 0 {
            let share = [20, 35, 60][Int(random.next(below: 3))] as Int64
            let drawn = Kind.allCases.filter { _ in random.next(below: 100) < share }
            if !drawn.isEmpty { kinds = drawn }
        }
        self.kinds = kinds
        interval = [150_000_000, 500_000_000, 1_500_000_000][Int(random.next(below: 3))]
        self.random = random
    }

    mutating func nextInterval() -> Int64 { random.next(below: 2 * interval) + 1_000_000 }

    private mutating func chance(_ percent: Int64) -> Bool { random.next(below: 100) < percent }

    /// Changes one to three things.
    mutating func apply(to cluster: inout SimulatedCluster) {
        for _ in 0...random.next(below: 3) { applyOne(to: &cluster) }
    }

    private mutating func applyOne(to cluster: inout SimulatedCluster) {
        let kind = kinds[Int(random.next(below: Int64(kinds.count)))]
        var node = Int(random.next(below: Int64(cluster.voters.count)))
        // What happens to a leader matters most.
        if chance(40), let active = cluster.activeNode { node = active }
        switch kind {
        case .loss: cluster.network.lossPerMille = [0, 0, 20, 150, 400][Int(random.next(below: 5))]
        case .delay: changeNetworkDelays(&cluster)
        case .duplicates: cluster.network.duplicatePerMille = [0, 50, 300][Int(random.next(below: 3))]
        case .isolation: isolate(node, &cluster)
        case .links:
            for sender in cluster.voters {
                for receiver in cluster.voters where receiver != sender {
                    if chance(30) { cluster.setLink(from: sender, to: receiver, isCut: chance(40)) }
                }
            }
        case .redraw:
            for sender in cluster.voters {
                for receiver in cluster.voters where receiver != sender {
                    cluster.setLink(from: sender, to: receiver, isCut: chance(45))
                }
            }
        case .crash:
            cluster.crash(node)
            // Short ones matter most: a promise of before may still run.
            let longest: Int64 = chance(60) ? 300_000_000 : 6_000_000_000
            cluster.restart(node, after: random.next(below: longest))
        case .pause: cluster.pause(node, for: random.next(below: chance(50) ? 700_000_000 : 8_000_000_000))
        case .store: changeStoreLinks(node, &cluster)
        case .storeSlow: changeStoreDelays(&cluster)
        case .rates: cluster.changeRate(of: chance(25) ? nil : node)
        case .handover:
            cluster.setFreshness(random.next(below: 3), of: node)
            if chance(40) { cluster.stepDown(node) }
        case .siege: besiege(node, &cluster)
        case .usurpation: usurp(&cluster)
        case .promotion: promote(&cluster)
        }
    }

    /// Seldom twice in a row: L9 lets nobody acquire for a while after each.
    private mutating func promote(_ cluster: inout SimulatedCluster) {
        guard cluster.now - promotedAt > 6_000_000_000 || chance(10) else { return }
        promotedAt = cluster.now
        let lag = random.next(below: [50_000_000, 500_000_000, 3_000_000_000][Int(random.next(below: 3))])
        let downFor = random.next(below: chance(60) ? 200_000_000 : 3_000_000_000)
        cluster.promote(lag: lag, downFor: downFor)
    }

    /// One node alone with PostgreSQL, or all others alone with it.
    private mutating func besiege(_ node: Int, _ cluster: inout SimulatedCluster) {
        if chance(50) { changeStoreDelays(&cluster) }
        let shut: StoreLink = chance(50) ? .silent : .refusing
        let othersGoOn = chance(50)
        for other in cluster.voters where other != node {
            cluster.setLink(from: node, to: other, isCut: chance(85))
            cluster.setLink(from: other, to: node, isCut: chance(85))
            cluster.setStoreLink(of: other, othersGoOn ? .open : shut)
        }
        cluster.setStoreLink(of: node, othersGoOn ? shut : .open)
    }

    /// Whoever holds the lease is cut off from the voters; the others hear each other again.
    private mutating func usurp(_ cluster: inout SimulatedCluster) {
        guard let holder = cluster.register.row?.leader else { return }
        for sender in cluster.voters {
            for receiver in cluster.voters where receiver != sender {
                let isHolders = cluster.name(of: sender) == holder || cluster.name(of: receiver) == holder
                cluster.setLink(from: sender, to: receiver, isCut: isHolders && chance(90))
            }
        }
    }

    private mutating func changeNetworkDelays(_ cluster: inout SimulatedCluster) {
        cluster.network.delays =
            [
                Delays(minimum: 100_000, maximum: 1_000_000),
                Delays(minimum: 100_000, maximum: 100_000_000),
                Delays(minimum: 100_000, maximum: 5_000_000, slowPerMille: 100, slowMaximum: 3_000_000_000),
                Delays(minimum: 100_000, maximum: 400_000_000, slowPerMille: 300, slowMaximum: 2_000_000_000),
            ][Int(random.next(below: 4))]
    }

    private mutating func isolate(_ node: Int, _ cluster: inout SimulatedCluster) {
        let shape = random.next(below: 4)
        for other in cluster.voters where other != node {
            cluster.setLink(from: node, to: other, isCut: shape == 0 || shape == 1)
            cluster.setLink(from: other, to: node, isCut: shape == 0 || shape == 2)
        }
    }

    private mutating func changeStoreLinks(_ node: Int, _ cluster: inout SimulatedCluster) {
        func draw(_ random: inout SplitMix64) -> StoreLink {
            StoreLink.allCases[Int(random.next(below: Int64(StoreLink.allCases.count)))]
        }
        if chance(35) {
            let link = chance(50) ? .open : draw(&random)
            for each in cluster.voters { cluster.setStoreLink(of: each, link) }
        } else {
            cluster.setStoreLink(of: node, chance(30) ? .open : draw(&random))
        }
    }

    private mutating func changeStoreDelays(_ cluster: inout SimulatedCluster) {
        cluster.store.delays =
            [
                Delays(minimum: 1_000_000, maximum: 4_000_000),
                Delays(minimum: 1_000_000, maximum: 300_000_000),
                Delays(minimum: 1_000_000, maximum: 10_000_000, slowPerMille: 300, slowMaximum: 6_000_000_000),
                Delays(minimum: 500_000_000, maximum: 2_500_000_000),
            ][Int(random.next(below: 4))]
        cluster.store.brokenPerMille = [0, 0, 200][Int(random.next(below: 3))]
    }
}
