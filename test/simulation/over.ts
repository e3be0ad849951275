/** Puts something between two parts: an object that is another one, but for some of its members. */

/** The same object, with some of its members replaced. */
export function over<T extends object>(inner: T, members: Partial<T>): T {
  return new Proxy(inner, {
    get(target, name) {
      if (Object.hasOwn(members, name)) return Reflect.get(members, name);
      return own(target, name);
    },
  });
}

/** A member as its own object has it. */
function own(target: object, name: string | symbol): unknown {
  const value: unknown = Reflect.get(target, name, target);
  return typeof value === 'function' ? (value.bind(target) as unknown) : value;
}
