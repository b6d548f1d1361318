import HTTPTypes
import OrchestryModel
import RestFacade
import Testing

/// What the dashboard's page is made of.
struct DashboardPageTests {
    @Test func `all that the page needs is ours, and is there`() async throws {
        let test = FacadeUnderTest()
        let page = try await test.ask(.get, "/ui")
        #expect(page.status == 200)
        #expect(page.headers[.contentType] == "text/html; charset=utf-8")
        var wanted = Set(page.text.matches(of: #/(?:href|src)="(\/ui\/[^"]*)"/#).map { String($0.1) })
        #expect(wanted.contains("/ui/app.js"))
        var seen: Set<String> = []
        while let path = wanted.subtracting(seen).first {
            seen.insert(path)
            let answer = try await test.ask(.get, path)
            #expect(answer.status == 200, "\(path)")
            wanted.formUnion(answer.text.matches(of: #/from '\.\/([^']+)'/#).map { "/ui/\($0.1)" })
            // A namespace is a name only.
            let foreign = answer.text.matches(of: #/https?:\/\/[^'"\s)]+/#).map { String($0.0) }
            #expect(foreign.allSatisfy { $0.hasPrefix("http://www.w3.org/") }, "\(path): \(foreign)")
        }
        #expect(seen.isSuperset(of: ["/ui/logs.js", "/ui/detail.js", "/ui/ui.css", "/ui/icon.svg"]))
    }

    @Test func `nothing written into the page runs, and no other site can show it`() async throws {
        let page = try await FacadeUnderTest().ask(.get, "/ui")
        let policy = try #require(page.headers[.contentSecurityPolicy])
        for rule in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
            #expect(policy.contains(rule))
        }
        #expect(!policy.contains("unsafe"))
        #expect(page.text.matches(of: #/<script(?![^>]*src=)/#).isEmpty)
        #expect(page.text.matches(of: #/\s(style|on[a-z]+)=/#).isEmpty)
    }

    @Test func `a browser that has a file is told so, and a name that is none is refused`() async throws {
        let test = FacadeUnderTest()
        let first = try await test.ask(.get, "/ui/app.js")
        let tag = try #require(first.headers[.eTag])
        let again = try await test.ask(.get, "/ui/app.js", headers: [.ifNoneMatch: tag])
        #expect(again.status == 304)
        #expect(again.text.isEmpty)
        let none = try await test.ask(.get, "/ui/other.js")
        #expect(none.status == 404)
        #expect(none.body["detail"]?.stringValue?.contains("/ui") == true, "\(none.text)")
    }
}
