import DockerEngine
import Foundation
import Logging
import OrchestryModel
import TestSupport
import Testing

/// Old images go from a real engine, and only those.
@Suite(
    .enabled(
        if: ToolsImage.isPossible && PrivateRegistry.isInstalled, "no engine, busybox-static or docker-registry"),
    .timeLimit(.minutes(3)))
struct ImageKeeperTests {
    @Test func `the last images of each app stay, and what runs, and what was there before`() async throws {
        let failure = await ToolsImage.failure.value
        try #require(failure == nil)
        let registry = try PrivateRegistry()
        defer { registry.stop() }
        let folder = try TemporaryFolder("orchestry-images")
        let path = folder.path + "/images.json"
        let (web, shop) = (AppName(unchecked: "web"), AppName(unchecked: "shop"))
        let references = (1...5).map { "\(registry.address)/web:\($0)" }
        let outcome = await Result.of {
            try await EngineFixture.withEngine { engine in
                func present() async throws -> [Int] {
                    var found: [Int] = []
                    for (index, reference) in references.enumerated() where try await engine.imageIsPresent(reference) {
                        found.append(index + 1)
                    }
                    return found
                }
                let first = ImageKeeper(path: path, keep: 2, logger: Logger(label: "test"))
                for (index, reference) in references.enumerated() {
                    try await EngineFixture.pushTools(reference, label: "v\(index)")
                    try await engine.pull(reference)
                    // The fourth was here before anything pulled it for an app.
                    await first.used(
                        reference, by: web, pulled: index != 3, at: WallTime(milliseconds: Int64(index) * 1_000))
                }
                // Another app's last one, however old.
                await first.used(references[1], by: shop, pulled: false, at: WallTime(milliseconds: 0))
                let running = try await engine.start(
                    EngineFixture.assignment { $0.image = references[0] }, epoch: Epoch(1))

                // A node that starts again knows them still.
                let keeper = ImageKeeper(path: path, keep: 2, logger: Logger(label: "test"))
                #expect(await keeper.surplus() == [references[0]], "kept: 2 for shop, 3 and 5 for web; 4 is not ours")
                await keeper.removeSurplus(from: engine)
                #expect(try await present() == [1, 2, 3, 4, 5], "1 runs")
                try await engine.remove(running.id)
                await keeper.removeSurplus(from: engine)
                #expect(try await present() == [2, 3, 4, 5])
                #expect(await keeper.surplus().isEmpty)
                // Gone back to, an image is the latest again.
                await keeper.used(references[1], by: web, pulled: false, at: WallTime(milliseconds: 9_000))
                await keeper.removeSurplus(from: engine)
                #expect(try await present() == [2, 4, 5])
                let all = ImageKeeper(path: path, keep: 0, logger: Logger(label: "test"))
                #expect(await all.surplus().isEmpty, "0 keeps all")
            }
        }
        await EngineFixture.docker(["rmi"] + references)
        try outcome.get()
    }

    @Test func `a list that can't be read is begun anew`() async throws {
        let folder = try TemporaryFolder("orchestry-images")
        let path = folder.path + "/images.json"
        try "not JSON".write(toFile: path, atomically: true, encoding: .utf8)
        let keeper = ImageKeeper(path: path, keep: 1, logger: Logger(label: "test"))
        let web = AppName(unchecked: "web")
        for number in 1...2 {
            await keeper.used("web:\(number)", by: web, pulled: true, at: WallTime(milliseconds: Int64(number)))
        }
        let again = ImageKeeper(path: path, keep: 1, logger: Logger(label: "test"))
        #expect(await again.surplus() == ["web:1"])
    }
}
