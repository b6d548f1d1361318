import Leadership
import OrchestryModel
import Testing

@Suite struct LeadershipSettingsTests {
    struct Row: Sendable, CustomTestStringConvertible {
        var field: String
        var change: @Sendable (inout LeadershipSettings) -> Void
        var testDescription: String { field }

        static let rows: [Row] = [
            Row(field: "heartbeatInterval") { $0.heartbeatInterval = .milliseconds(9) },
            Row(field: "promise") { $0.promise = .milliseconds(299) },
            Row(field: "promise") {
                $0.promise = .seconds(61); $0.leaseTTL = .seconds(600)
            },
            Row(field: "leaseTTL") { $0.leaseTTL = .milliseconds(2_999) },
            Row(field: "leaseTTL") { $0.promise = .seconds(3) },
            Row(field: "renewInterval") { $0.renewInterval = .milliseconds(49) },
            Row(field: "drift") { $0.drift = 0.2 },
            Row(field: "drift") { $0.drift = -0.01 },
            Row(field: "drift") { $0.drift = .nan },
            Row(field: "leaseRequestTimeout") { $0.leaseRequestTimeout = .milliseconds(2_501) },
            Row(field: "staggerStep") { $0.staggerStep = .milliseconds(501) },
            Row(field: "jitter") { $0.jitter = .milliseconds(-1) },
            Row(field: "voteRetry") { $0.voteRetry = .zero },
            Row(field: "voteHold") { $0.voteHold = .milliseconds(501) },
            Row(field: "acquireRetry") { $0.acquireRetry = .milliseconds(9) },
            Row(field: "storeBackoff") { $0.storeBackoff = .zero },
            Row(field: "storeProbeInterval") { $0.storeProbeInterval = .seconds(4) },
        ]
    }

    @Test func `the defaults are sound`() {
        #expect(LeadershipSettings().violations().isEmpty)
    }

    @Test(arguments: Row.rows)
    func `an unsound setting is named`(_ row: Row) {
        var settings = LeadershipSettings()
        row.change(&settings)
        #expect(settings.violations().contains { $0.field == row.field }, "\(settings.violations())")
    }
}
