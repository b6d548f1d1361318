import Autoscaling
import OrchestryModel
import Scheduling

extension LeaderTerm {
    private static let fetchesAtOnce = 32

    /// The leader asks every ready instance of apps with metrics of their own, each second. It alone: only it decides by
    /// them, and a new one has the first readings a second later; until then nothing shrinks.
    func scrapeEachSecond() async {
        while !Task.isCancelled {
            do { try await Task.sleep(for: .seconds(1)) } catch { return }
            guard surroundings.isActive(epoch) else { continue }
            var targets: [MetricScraper.Target] = []
            for name in applications.keys.sorted() {
                guard let application = applications[name], application.status == .running,
                    application.spec.scaling.customMetrics != nil
                else { continue }
                let ready = reconciler.instances(of: name).filter { $0.state == .ready }
                scraper.keep(Set(ready.map(\.instance)), of: name)
                targets += MetricScraper.targets(application, ready: ready)
            }
            guard !targets.isEmpty else { continue }
            let fetch = surroundings.fetchPage
            await withTaskGroup(of: (MetricScraper.Target, String?).self) { group in
                var waiting = targets[...]
                for target in waiting.prefix(Self.fetchesAtOnce) {
                    group.addTask { (target, await fetch(target.endpoint, target.path)) }
                }
                waiting = waiting.dropFirst(Self.fetchesAtOnce)
                for await (target, page) in group {
                    if let next = waiting.popFirst() {
                        group.addTask { (next, await fetch(next.endpoint, next.path)) }
                    }
                    guard let page else { continue }
                    let readings = scraper.readings(
                        of: target, page: page, at: surroundings.clock.now(),
                        second: surroundings.clock.wall().wholeSecond)
                    surroundings.scaling.record(readings, app: target.app)
                }
            }
        }
    }
}
