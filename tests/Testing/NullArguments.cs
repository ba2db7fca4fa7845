using System.Diagnostics.CodeAnalysis;
using System.Reflection;

namespace KvCache.Testing;

/// <summary>Passes null wherever the public API of an assembly takes none: each has to be told, by its name.</summary>
internal static class NullArguments
{
    private static readonly KvLayout Layout = KvLayout.Create(layers: 2, kvHeads: 1, headDim: 4, KvDataType.Float32, tokensPerBlock: 4);

    /// <summary>Tries every constructor and method with null for one parameter after the other.</summary>
    /// <param name="assembly">The assembly.</param>
    /// <param name="samples">Values of types that the library's own constructors do not make.</param>
    /// <returns>A line for each call that was answered otherwise than by an <see cref="ArgumentNullException"/>.</returns>
    public static async Task<List<string>> FindAsync(Assembly assembly, params object[] samples)
    {
        var problems = new List<string>();
        var nulls = new NullabilityInfoContext();
        var tried = 0;
        foreach (var type in assembly.GetExportedTypes().Where(type => type is { IsInterface: false, IsEnum: false } && !IsTold(type)))
        {
            foreach (var method in MembersOf(type))
            {
                var parameters = method.GetParameters();
                foreach (var parameter in parameters.Where(
                    parameter => !parameter.ParameterType.IsValueType && nulls.Create(parameter).WriteState == NullabilityState.NotNull))
                {
                    var error = await Record.ExceptionAsync(() => CallAsync(method, parameter, samples));
                    tried++;
                    if (error is not ArgumentNullException { ParamName: { } name } || (name != parameter.Name && !IsSetter(method)))
                        problems.Add(
                            $"{type.Name}.{method.Name}({parameter.Name}: null): "
                            + $"{error?.GetType().Name ?? "no exception"} {error?.Message}");
                }
            }
        }

        Assert.NotEqual(0, tried);
        return problems;
    }

    // What calls tell, and exceptions, are not made by callers; options are validated where they are used.
    private static bool IsTold(Type type) => typeof(Exception).IsAssignableFrom(type) || typeof(Delegate).IsAssignableFrom(type)
        || type.Name.EndsWith("Options", StringComparison.Ordinal)
        || type.Name is "BlockHolder" or "BlockLocations" or "KvRoute" or "KvCacheStatistics" or "SiloUse" or "GenerationPiece"
            or "GenerationResult";

    private static IEnumerable<MethodBase> MembersOf(Type type)
    {
        const BindingFlags Own = BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;
        return type.GetMethods(Own).Cast<MethodBase>().Concat(type.IsAbstract ? [] : type.GetConstructors()).Where(
            method => !method.IsGenericMethod && method.Name != "Equals"
                && !method.GetParameters().Any(parameter => parameter.ParameterType.IsByRef || parameter.ParameterType.IsByRefLike));
    }

    private static bool IsSetter(MethodBase method) => method.IsSpecialName && method.Name.StartsWith("set_", StringComparison.Ordinal);

    private static async Task CallAsync(MethodBase method, ParameterInfo missing, object[] samples)
    {
        var arguments = method.GetParameters()
            .Select(parameter => parameter == missing ? null : Make(parameter.ParameterType, samples)).ToArray();
        object? answer;
        try
        {
            answer = method is ConstructorInfo constructor
                ? constructor.Invoke(arguments)
                : method.Invoke(method.IsStatic ? null : Make(method.DeclaringType!, samples), arguments);
        }
        catch (TargetInvocationException e)
        {
            throw e.InnerException!;
        }

        if (answer?.GetType().GetMethod("AsTask") is { } asTask)
            answer = asTask.Invoke(answer, null);
        if (answer is Task task)
            await task;
    }

    [SuppressMessage("Performance", "CA1859", Justification = "Of any type.")]
    private static object? Make(Type type, object[] samples)
    {
        if (samples.FirstOrDefault(type.IsInstanceOfType) is { } sample)
            return sample;
        if (type == typeof(string))
            return "text";
        if (type == typeof(ByteSize))
            return ByteSize.MiB(1);
        if (type == typeof(KvLayout))
            return Layout;
        if (type == typeof(CacheNamespace)) // a new one each time: its setters are tried too
            return new CacheNamespace { Tenant = "default", Model = "model", Layout = Layout };
        if (type == typeof(KvPrefix))
            return KvPrefix.Of((CacheNamespace)Make(typeof(CacheNamespace), samples)!, new int[8]);
        if (type == typeof(PrefixChain))
            return PrefixHasher.HashTokens(new int[8], 4);
        if (type == typeof(RankGroup))
            return new RankGroup((CacheNamespace)Make(typeof(CacheNamespace), samples)!);
        if (type.IsValueType)
            return Activator.CreateInstance(type);
        if (type.IsArray || (type.IsGenericType && type.IsInterface && type.GetGenericArguments() is [var element]
            && type.IsAssignableFrom(element.MakeArrayType())))
            return Array.CreateInstance(type.GetElementType() ?? type.GetGenericArguments()[0], 0);
        if (type == typeof(IAsyncEnumerable<int>))
            return AsyncEnumerable.Empty<int>();
        return type.GetConstructor([]) is { } simple ? simple.Invoke(null) : null;
    }
}
