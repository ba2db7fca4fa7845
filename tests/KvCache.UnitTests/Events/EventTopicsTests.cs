using KvCache.Silo.Events;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>The namespaces of one tenant cost no other one its events.</summary>
public sealed class EventTopicsTests
{
    private static readonly TenantId Acme = TenantId.Of("acme"), Evil = TenantId.Of("evil");

    [Fact]
    public void A_tenant_with_too_many_namespaces_leaves_others_their_topics()
    {
        var topics = new EventTopics("kv.", mostOfTenant: 3);
        var known = topics.Of(new NamespaceId(Evil, 0));

        for (ulong i = 1; i < 100; i++)
            Assert.Equal(i < 3, topics.Of(new NamespaceId(Evil, i)) is not null);

        Assert.Same(known, topics.Of(new NamespaceId(Evil, 0)));
        Assert.NotNull(topics.Of(new NamespaceId(Acme, 0)));
        Assert.Equal(4, topics.Namespaces.Count);
    }
}
