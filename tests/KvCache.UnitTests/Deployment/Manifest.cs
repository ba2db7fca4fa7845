using System.Globalization;
using YamlDotNet.RepresentationModel;

namespace KvCache.UnitTests.Deployment;

/// <summary>A file of Kubernetes manifests, as it lies in deploy/k8s.</summary>
internal sealed class Manifest
{
    public Manifest(string name)
    {
        Text = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "k8s", name));
        var yaml = new YamlStream();
        yaml.Load(new StringReader(Text));
        Objects = [.. yaml.Documents.Select(document => document.RootNode)];
    }

    public string Text { get; }

    public YamlNode[] Objects { get; }

    /// <summary>Objects that run pods.</summary>
    public IEnumerable<YamlNode> Workloads => Objects.Where(o => Find(o, "spec", "template") is not null);

    public IEnumerable<YamlNode> Policies => Objects.Where(o => Value(o, "kind") == "NetworkPolicy");

    public static YamlNode? Find(YamlNode? node, params string[] path)
    {
        foreach (var name in path)
            node = node is YamlMappingNode map && map.Children.TryGetValue(name, out var child) ? child : null;
        return node;
    }

    public static string? Value(YamlNode? node, params string[] path) => (Find(node, path) as YamlScalarNode)?.Value;

    public static IReadOnlyList<YamlNode> List(YamlNode? node, params string[] path) =>
        Find(node, path) is YamlSequenceNode list ? [.. list] : [];

    public static YamlNode PodOf(YamlNode workload) => Find(workload, "spec", "template", "spec")!;

    public static string AppOf(YamlNode workload) => Value(workload, "spec", "template", "metadata", "labels", "app")!;

    public static IEnumerable<YamlNode> Containers(YamlNode workload) =>
        [.. List(PodOf(workload), "containers"), .. List(PodOf(workload), "initContainers")];

    public static int[] Ports(IEnumerable<YamlNode> nodes, string name) =>
        [.. nodes.Select(node => int.Parse(Value(node, name)!, CultureInfo.InvariantCulture)).Distinct().Order()];
}
