import Foundation
import Hummingbird
import HummingbirdTesting
import Logging
import OrchestryModel
import RestFacade
import TestSupport
import Testing

/// The dashboard in a real browser, with more apps than a test's cluster can hold.
@Suite(
    .enabled(
        if: Tool.isExpected("chromium") && Tool.isExpected("python3"),
        "needs chromium and python3: see configs/dev/test"), .timeLimit(.minutes(3)))
struct ManyAppsTests {
    private static let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Browser/many.py").path

    /// One that is not as wanted among many that are.
    private func rows(_ count: Int) throws -> [JSONValue] {
        let app = try Samples.application()
        return try (0..<count).map { number in
            let row = Presentation.overviewRow(app, ready: number == 0 ? 1 : 2, instances: 2)
            var members = try #require(row.objectValue)
            members["name"] = .string(number == 0 ? "shop" : "zone-\(number)")
            return .object(members)
        }
    }

    @Test func `500 apps are listed, and one of them is found and opened`() async throws {
        var board = OverviewBoard()
        _ = board.update(rows: try rows(500), cluster: Presentation.clusterSummary(Samples.view()))
        let (shown, version) = try #require(board.changes(after: 0))
        var page = StreamPage(cursor: StreamCursor(events: 0, overview: version))
        page.overview = shown
        let test = FacadeUnderTest(ScriptedControlPlane(pages: [page]))
        try await test.facade.application().test(.live) { client in
            let port = try #require(client.port)
            try await Tool.named("python3").run([Self.script, "http://127.0.0.1:\(port)", "500", "shop"])
        }
    }
}
