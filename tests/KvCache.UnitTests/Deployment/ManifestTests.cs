using System.Reflection;
using System.Text.RegularExpressions;
using KvCache.Silo.Hosting;
using KvCache.Silo.Options;
using KvCache.UnitTests.Deployment;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>The manifests say what the program understands, and leave no door without a lock.</summary>
public sealed partial class ManifestTests
{
    public static TheoryData<string> Files => ["silo.yaml", "cluster.yaml"];

    [Theory]
    [MemberData(nameof(Files))]
    public void Every_port_has_a_policy_that_names_who_may_come(string file)
    {
        var manifest = new Manifest(file);
        Assert.NotEmpty(manifest.Workloads);
        foreach (var workload in manifest.Workloads)
        {
            var app = Manifest.AppOf(workload);
            var policy = Assert.Single(
                manifest.Policies, policy => Manifest.Value(policy, "spec", "podSelector", "matchLabels", "app") == app);
            Assert.Contains("Ingress", Manifest.List(policy, "spec", "policyTypes").Select(type => type.ToString()));
            var rules = Manifest.List(policy, "spec", "ingress");
            Assert.All(rules, rule => Assert.NotEmpty(Manifest.List(rule, "from")));
            Assert.All(rules, rule => Assert.NotEmpty(Manifest.List(rule, "ports")));
            Assert.Equal(
                Manifest.Ports(Manifest.Containers(workload).SelectMany(container => Manifest.List(container, "ports")), "containerPort"),
                Manifest.Ports(rules.SelectMany(rule => Manifest.List(rule, "ports")), "port"));
        }
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void A_silo_declares_every_port_that_it_listens_on(string file)
    {
        var silo = Assert.Single(new Manifest(file).Workloads, workload => Manifest.AppOf(workload) == "kvcache-silo");
        var arguments = Manifest.Containers(silo).SelectMany(container => Manifest.List(container, "args"))
            .Select(argument => argument.ToString()).ToArray();
        var ports = arguments.Select(argument => ListenPort().Match(argument)).Where(match => match.Success)
            .Select(match => int.Parse(match.Groups[1].ValueSpan)).ToList();
        if (arguments.Any(argument => argument.StartsWith("--cluster=", StringComparison.Ordinal)))
            ports.Add(7410); // --silo-port's default
        Assert.Equal(
            ports.Order(),
            Manifest.Ports(Manifest.Containers(silo).SelectMany(container => Manifest.List(container, "ports")), "containerPort"));
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void Every_option_exists(string file)
    {
        var manifest = new Manifest(file);
        var silo = Assert.Single(manifest.Workloads, workload => Manifest.AppOf(workload) == "kvcache-silo");
        var options = SiloCommand.Create().Options.Select(option => option.Name).ToHashSet(StringComparer.Ordinal);
        var containers = Manifest.List(Manifest.PodOf(silo), "containers");
        Assert.All(containers.SelectMany(container => Manifest.List(container, "args")),
            argument => Assert.Contains(argument.ToString().Split('=')[0], options));

        var settings = containers.SelectMany(container => Manifest.List(container, "env"))
            .Select(variable => Manifest.Value(variable, "name")!).Where(name => name.StartsWith("KvCache", StringComparison.Ordinal))
            .ToArray();
        Assert.All(settings, name => Assert.True(Exists(name), $"{name} is no setting of a silo."));
        Assert.Contains("KvCache__Accounts__ScrapeTokenFile", settings);
        Assert.Contains(settings, name => name.StartsWith("KvCache__Tenants__", StringComparison.Ordinal));
        Assert.False(Exists("KvCache__Arena__Colour"));
        Assert.False(Exists("KvCache__Tenants__default__Colour"));
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void No_secret_is_written_down(string file)
    {
        var manifest = new Manifest(file);
        Assert.DoesNotContain(manifest.Objects, o => Manifest.Value(o, "kind") == "Secret");
        foreach (var variable in manifest.Workloads.SelectMany(Manifest.Containers)
            .SelectMany(container => Manifest.List(container, "env")))
        {
            var name = Manifest.Value(variable, "name")!;
            if (!SecretName().IsMatch(name))
                continue;

            // A file of a Secret: it may be exchanged while silos run.
            Assert.EndsWith("File", name, StringComparison.Ordinal);
            Assert.Contains(
                Path.GetFileName(Manifest.Value(variable, "value")), Literal().Matches(manifest.Text).Select(match => match.Groups[1].Value));
        }

        var arguments = manifest.Workloads.SelectMany(Manifest.Containers).SelectMany(container => Manifest.List(container, "args"))
            .Select(argument => argument.ToString()).ToArray();
        Assert.DoesNotContain(arguments, argument => argument.Contains("password=", StringComparison.OrdinalIgnoreCase));
        Assert.All(Literal().Matches(manifest.Text), match => Assert.Equal("\"$(openssl rand -hex 32)\"", match.Groups[2].Value));

        // Redis asks for the password that silos know.
        foreach (var redis in manifest.Workloads.Where(workload => Manifest.AppOf(workload) == "kvcache-redis"))
        {
            Assert.Contains(
                "requirepass",
                Assert.Single(Manifest.Containers(redis).SelectMany(container => Manifest.List(container, "args"))).ToString(),
                StringComparison.Ordinal);
            Assert.Contains("KvCache__Redis__PasswordFile", manifest.Text, StringComparison.Ordinal);
        }
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void Nobody_runs_as_root_and_nobody_writes_the_root(string file)
    {
        foreach (var workload in new Manifest(file).Workloads)
        {
            Assert.Equal("true", Manifest.Value(Manifest.PodOf(workload), "securityContext", "runAsNonRoot"));
            Assert.Equal("false", Manifest.Value(Manifest.PodOf(workload), "automountServiceAccountToken"));
            Assert.All(Manifest.Containers(workload), container =>
            {
                Assert.Equal("true", Manifest.Value(container, "securityContext", "readOnlyRootFilesystem"));
                Assert.Equal("false", Manifest.Value(container, "securityContext", "allowPrivilegeEscalation"));
                Assert.Equal("ALL", Assert.Single(Manifest.List(container, "securityContext", "capabilities", "drop")).ToString());
            });
            Assert.All(Manifest.List(Manifest.PodOf(workload), "containers"),
                container => Assert.Null(Manifest.Find(container, "securityContext", "runAsNonRoot")));
        }
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void A_silo_runs_on_gpu_nodes_and_lets_engine_pods_in_by_their_group(string file)
    {
        var silo = Assert.Single(new Manifest(file).Workloads, workload => Manifest.AppOf(workload) == "kvcache-silo");
        Assert.Equal("nvidia.com/gpu", Manifest.Value(Assert.Single(Manifest.List(Manifest.PodOf(silo), "tolerations")), "key"));
        var group = Assert.Single(Manifest.List(Manifest.PodOf(silo), "securityContext", "supplementalGroups")).ToString();
        var variables = Manifest.Containers(silo).SelectMany(container => Manifest.List(container, "env"))
            .ToDictionary(variable => Manifest.Value(variable, "name")!, variable => Manifest.Value(variable, "value"));
        Assert.Equal((group, group), (variables["KvCache__DataPlane__UnixGroup"], variables["KvCache__Arena__Group"]));
    }

    // A variable is a section, perhaps a name of the operator's choice, and properties.
    private static bool Exists(string variable)
    {
        var setting = variable.Replace("__", ":", StringComparison.Ordinal);
        var sections = typeof(SiloCommand).Assembly.GetTypes()
            .Select(type =>
                (Type: type, Section: type.GetField(
                "Section", BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Static)?.GetRawConstantValue() as string));
        var (options, section) =
            sections.Where(
            candidate => candidate.Section is not null && setting.StartsWith(candidate.Section + ":", StringComparison.Ordinal))
            .MaxBy(candidate => candidate.Section!.Length);
        if (options is null)
            return false;
        var path = setting[(section!.Length + 1)..].Split(':');
        if (options == typeof(TenantOptions))
            (options, path) = (typeof(TenantOptions.Tenant), path[1..]);
        return path.Length == 1 && options.GetProperty(path[0], BindingFlags.Public | BindingFlags.Instance) is not null;
    }

    [GeneratedRegex(@"^--(?:tcp|http|resp|lm)=\S*:(\d+)$")]
    private static partial Regex ListenPort();

    [GeneratedRegex(@"--from-literal=([\w-]+)=(""[^""]*"")")]
    private static partial Regex Literal();

    [GeneratedRegex("^KvCache.*(Secret|Token|Password|Key)")]
    private static partial Regex SecretName();
}
