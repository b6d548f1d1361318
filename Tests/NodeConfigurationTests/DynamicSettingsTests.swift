import Foundation
import NodeConfiguration
import OrchestryModel
import TestSupport
import Testing

struct DynamicSettingsTests {
    @Test func `what is set at run time lies over the node's own configuration, and bad values change nothing`()
        async throws
    {
        var environment = NodeConfigurationTests.minimal
        environment["ORCHESTRY_LOG_LEVEL"] = "warning"
        let configuration = try await NodeConfiguration.load(file: nil, environment: environment)
        #expect(configuration.dynamic.logLevel == "warning" && configuration.dynamic.eventsDays == 90)
        let good = configuration.dynamic(with: ["retention.events_days": "30", "node.dead_after": "1m"])
        #expect(good.problems.isEmpty)
        #expect(good.settings.eventsDays == 30 && good.settings.deadAfter == .seconds(60))
        #expect(good.settings.logLevel == "warning")
        let mixed = configuration.dynamic(with: [
            "retention.events_days": "0", "log.level": "loud", "api.leader_wait": "5s", "postgres.password": "x",
            "nonsense": "1",
        ])
        #expect(
            mixed.problems.map(\.name).sorted()
                == ["log.level", "nonsense", "postgres.password", "retention.events_days"])
        #expect(mixed.problems.allSatisfy { $0.rule.hasPrefix("must be") || $0.rule.hasPrefix("is not a runtime") })
        #expect(mixed.settings.leaderWait == .seconds(5) && mixed.settings.eventsDays == 90)
        #expect(mixed.settings.logLevel == "warning")
        #expect(DynamicSettings.names.allSatisfy { name in ConfigurationKey.catalogue.contains { $0.name == name } })
    }

    @Test func `a .env file lies between file and environment`() async throws {
        let folder = try TemporaryFolder("env")
        let path = folder.appending(".env")
        try """
        # comment
        ORCHESTRY_API_PORT=9001
        export ORCHESTRY_CLUSTER_ID='prod # not a comment'

        POSTGRES_PASSWORD="a \\"b\\" \\\\ c"  # comment
        ORCHESTRY_NODE_DEAD_AFTER = 40s # comment
        OTHER=ignored
        """.write(toFile: path, atomically: true, encoding: .utf8)
        let file = try EnvironmentFile(path: path)
        #expect(
            file.variables == [
                "ORCHESTRY_API_PORT": "9001", "ORCHESTRY_CLUSTER_ID": "prod # not a comment",
                "POSTGRES_PASSWORD": "a \"b\" \\ c", "ORCHESTRY_NODE_DEAD_AFTER": "40s", "OTHER": "ignored",
            ])
        var environment = NodeConfigurationTests.minimal
        environment["ORCHESTRY_API_PORT"] = "9002"
        let layers = try await ConfigurationLayers(file: nil, environmentFile: file, environment: environment)
        #expect(layers.entries["api.port"]?.source == "environment ORCHESTRY_API_PORT")
        #expect(layers.entries["node.dead_after"]?.source == "ORCHESTRY_NODE_DEAD_AFTER in \(path)")
        #expect(layers.entries["postgres.password"]?.text == "a \"b\" \\ c")
    }

    @Test(arguments: ["no equals sign", "A='open", "B=\"open\\", "1X=2", "C='a' b"])
    func `a line of another form is refused by its number, without what is in it`(_ line: String) async throws {
        let folder = try TemporaryFolder("env")
        let path = folder.appending("bad")
        try "GOOD=1\n\(line)\n".write(toFile: path, atomically: true, encoding: .utf8)
        let error = #expect(throws: ConfigurationError.self) { try EnvironmentFile(path: path) }
        #expect(error?.description.contains("line 2") == true && error?.description.contains("open") == false)
    }
}
